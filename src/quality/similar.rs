//! Prompts that are nearly the same.

use std::collections::HashMap;

use super::gates::duplicates::{MOST_COMPARED, Print, pairs};
use crate::generation::{Message, Role};

/// Prompts that have this share of their runs of three words in common (Jaccard) are nearly the same.
pub const NEARLY: f64 = 0.8;

/// What is kept of a prompt to find others like it.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptPrint(Print);

impl PromptPrint {
    /// The print of a conversation. Who says what makes no difference, and neither does the system message, which
    /// many prompts have in common.
    pub fn of(messages: &[Message]) -> Self {
        let said = |message: &&Message| message.role != Role::System;
        let texts: Vec<&str> = messages
            .iter()
            .filter(said)
            .map(|message| message.content.as_str())
            .collect();
        Self(Print::new(&texts.join("\n"), "", true))
    }
}

/// Prompts to hold others against.
#[derive(Clone, Debug, Default)]
pub struct Known {
    prompts: Vec<PromptPrint>,
    bands: HashMap<(usize, u32), Vec<usize>>,
}

impl Known {
    /// Adds one.
    pub fn add(&mut self, prompt: PromptPrint) {
        for band in prompt.0.bands() {
            self.bands.entry(band).or_default().push(self.prompts.len());
        }
        self.prompts.push(prompt);
    }

    /// Whether one of them is nearly the same.
    pub fn holds(&self, prompt: &PromptPrint) -> bool {
        let mut near = prompt.0.bands();
        near.any(|band| {
            let there = self.bands.get(&band).into_iter().flatten();
            let near = there.map(|&number| &self.prompts[number]);
            near.take(MOST_COMPARED)
                .any(|known| known.0.similarity(&prompt.0) >= NEARLY)
        })
    }
}

/// Pairs of prompts that are nearly the same, by their numbers: enough pairs that prompts that are alike hang
/// together.
pub fn alike(prompts: &[PromptPrint]) -> Vec<(usize, usize)> {
    let prints: Vec<&Print> = prompts.iter().map(|prompt| &prompt.0).collect();
    pairs(&prints, NEARLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints(texts: &[&str]) -> Vec<PromptPrint> {
        texts
            .iter()
            .map(|text| PromptPrint::of(&[Message::user(*text)]))
            .collect()
    }

    #[test]
    fn prompts_that_differ_in_a_word_of_many_are_alike_and_short_ones_are_not() {
        let long = "Please write a letter to my landlord in which I ask for the boiler in the kitchen to be mended \
                    before the first of November, and say that I have asked for it twice already";
        let changed = long.replace("kitchen", "bathroom").to_lowercase();
        let found = alike(&prints(&[
            long,
            "What is 1?",
            "What is 2?",
            &changed,
            "Something else",
        ]));
        assert_eq!(found, [(0, 3)]);
    }

    #[test]
    fn a_system_message_makes_no_prompts_alike_and_known_prompts_are_found() {
        let system = Message::new(Role::System, "word ".repeat(200));
        let with = |text: &str| PromptPrint::of(&[system.clone(), Message::user(text)]);
        let long: Vec<String> = (0..40).map(|number| format!("word{number}")).collect();
        let (one, other) = (long.join(" "), long.join(" ").replace("word7 ", "else "));
        assert_eq!(
            alike(&[with("What is rain?"), with("Why is the sky blue?")]),
            []
        );
        let mut known = Known::default();
        known.add(with(&one));
        assert!(known.holds(&with(&other)) && !known.holds(&with("What is rain?")));
    }

    #[test]
    fn a_chain_of_alike_prompts_hangs_together() {
        let words: Vec<String> = (0..60).map(|number| format!("word{number}")).collect();
        let text = |changed: usize| {
            let mut words = words.clone();
            (0..changed).for_each(|place| words[place] = format!("other{place}"));
            words.join(" ")
        };
        let texts = [text(0), text(4), text(8), text(12)];
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let found = alike(&prints(&texts));
        let mut reached = vec![0];
        while let Some(next) = (0..4).find(|number| {
            let joins = |(a, b): &(usize, usize)| {
                reached.contains(a) && b == number || reached.contains(b) && a == number
            };
            !reached.contains(number) && found.iter().any(joins)
        }) {
            reached.push(next);
        }
        assert_eq!(reached.len(), 4, "{found:?}");
        assert!(!found.contains(&(0, 3)));
    }
}

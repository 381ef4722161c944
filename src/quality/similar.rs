//! Prompts that are nearly the same.

use super::gates::duplicates::{Print, pairs};
use crate::generation::Message;

/// Prompts that have this share of their runs of three words in common (Jaccard) are nearly the same.
pub const NEARLY: f64 = 0.8;

/// What is kept of a prompt to find others like it.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptPrint(Print);

impl PromptPrint {
    /// The print of a conversation. Who says what makes no difference.
    pub fn of(messages: &[Message]) -> Self {
        let texts: Vec<&str> = messages
            .iter()
            .map(|message| message.content.as_str())
            .collect();
        Self(Print::new(&texts.join("\n"), "", true))
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
        for pair in [(0, 1), (1, 2), (2, 3)] {
            assert!(found.contains(&pair), "{found:?}");
        }
        assert!(!found.contains(&(0, 3)));
    }
}

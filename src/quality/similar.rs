//! Prompts that are nearly the same.

use std::collections::HashMap;

use super::gates::duplicates::{BAND_BITS, MOST_COMPARED, Print, Prints, Sets, add_bands, pairs};
use crate::generation::{Message, Role};
use crate::store::{Scratch, Shelf, Sorter, StoreError};

/// Prompts that have this share of their runs of three words in common (Jaccard) are nearly the same.
pub const NEARLY: f64 = 0.8;

/// Shelves, by the numbers of the prompts.
const PRINTS: Shelf = 0;
const SETS: Shelf = 1;

/// The first of the shelves of bands, one for each, by their values: the numbers of the prompts that have it.
const FIRST_BAND: Shelf = 2;

/// Prompts to be held against each other. What is kept of them lies on disk.
#[derive(Debug)]
pub struct Prompts {
    scratch: Scratch,
    count: u32,
}

impl Prompts {
    /// None yet.
    ///
    /// # Errors
    ///
    /// Here and below: when there is no room for a temporary file.
    pub fn begin() -> Result<Self, StoreError> {
        Ok(Self {
            scratch: Scratch::begin()?,
            count: 0,
        })
    }

    /// Adds one. The first has the number 0.
    pub fn add(&mut self, prompt: &[Message]) -> Result<(), StoreError> {
        let text = said(prompt);
        let print = Print::new(&text, "", Some(NEARLY));
        self.scratch.put(PRINTS, self.count, &print.to_bytes())?;
        if let Some(sets) = print.sets() {
            self.scratch.put(SETS, self.count, &sets.to_bytes())?;
        }
        self.count += 1;
        Ok(())
    }

    /// Hands out pairs of them that are nearly the same, by their numbers, the lower one first: enough pairs that prompts
    /// that are alike hang together.
    pub fn alike(&self, mut pair: impl FnMut(u32, u32)) -> Result<(), StoreError> {
        let none = HashMap::new();
        let prints = Prints {
            scratch: &self.scratch,
            shelf: PRINTS,
            sets: &none,
        };
        let mut sets = |number| self.sets(number);
        pairs(&prints, self.count, NEARLY, &mut sets, &mut pair)
    }

    /// Some of them, to hold others against: those whose numbers are wanted.
    pub fn known(self, wanted: impl Fn(u32) -> bool) -> Result<Known, StoreError> {
        let mut bands = Sorter::default();
        let mut added = Ok(());
        self.scratch.each(PRINTS, |number, bytes| {
            if added.is_ok() && wanted(number) {
                added = add_bands(&mut bands, bytes, number);
            }
        })?;
        added?;
        let (mut last, mut numbers) = (0, Vec::new());
        for entry in bands.sorted()? {
            let (band, number) = entry?;
            if band != last {
                self.keep(last, &mut numbers)?;
                last = band;
            }
            if numbers.len() < MOST_COMPARED {
                numbers.push(number);
            }
        }
        self.keep(last, &mut numbers)?;
        Ok(Known(self))
    }

    /// Keeps the numbers of those that have a value of a band.
    fn keep(&self, band: u64, numbers: &mut Vec<u32>) -> Result<(), StoreError> {
        let bytes: Vec<u8> = numbers.drain(..).flat_map(u32::to_le_bytes).collect();
        let shelf = FIRST_BAND + (band >> BAND_BITS) as Shelf;
        self.scratch.put(shelf, band as u32, &bytes)
    }

    fn sets(&self, number: u32) -> Result<Option<Sets>, StoreError> {
        let bytes = self.scratch.get(SETS, number)?;
        Ok(bytes.as_deref().and_then(Sets::from_bytes))
    }
}

/// Prompts to hold others against.
#[derive(Debug)]
pub struct Known(Prompts);

impl Known {
    /// Whether one of them is nearly the same.
    pub fn holds(&self, prompt: &[Message]) -> Result<bool, StoreError> {
        let print = Print::new(&said(prompt), "", Some(NEARLY));
        let Some(own) = print.sets() else {
            return Ok(false);
        };
        for (shelf, value) in (FIRST_BAND..).zip(print.bands()) {
            let near = self.0.scratch.get(shelf, value)?.unwrap_or_default();
            let (near, _) = near.as_chunks();
            for number in near {
                let known = self.0.sets(u32::from_le_bytes(*number))?;
                if known.is_some_and(|known| known.similarity(own) >= NEARLY) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// A conversation as one text. Who says what makes no difference, and neither does the system message, which many
/// prompts have in common.
fn said(messages: &[Message]) -> String {
    let said = |message: &&Message| message.role != Role::System;
    let texts: Vec<&str> = messages
        .iter()
        .filter(said)
        .map(|message| message.content.as_str())
        .collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(all: impl IntoIterator<Item = Vec<Message>>) -> Prompts {
        let mut prompts = Prompts::begin().unwrap();
        for prompt in all {
            prompts.add(&prompt).unwrap();
        }
        prompts
    }

    fn pairs_of(prompts: &Prompts) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        prompts
            .alike(|one, other| found.push((one, other)))
            .unwrap();
        found.sort_unstable();
        found
    }

    fn alike(texts: &[&str]) -> Vec<(u32, u32)> {
        let prompt = |text: &&str| vec![Message::user(*text)];
        pairs_of(&prompts(texts.iter().map(prompt)))
    }

    #[test]
    fn prompts_that_differ_in_a_word_of_many_are_alike_and_short_ones_are_not() {
        let long = "Please write a letter to my landlord in which I ask for the boiler in the kitchen to be mended \
                    before the first of November, and say that I have asked for it twice already";
        let changed = long.replace("kitchen", "bathroom").to_lowercase();
        let found = alike(&[long, "What is 1?", "What is 2?", &changed, "Something else"]);
        assert_eq!(found, [(0, 3)]);
    }

    #[test]
    fn a_system_message_makes_no_prompts_alike_and_known_prompts_are_found() {
        let system = Message::new(Role::System, "word ".repeat(200));
        let with = |text: &str| vec![system.clone(), Message::user(text)];
        let long: Vec<String> = (0..40).map(|number| format!("word{number}")).collect();
        let (one, other) = (long.join(" "), long.join(" ").replace("word7 ", "else "));
        let short = prompts([with("What is rain?"), with("Why is the sky blue?")]);
        assert_eq!(pairs_of(&short), []);
        let both = prompts([with("What is rain?"), with(&one)]);
        let known = both.known(|number| number == 1).unwrap();
        assert!(known.holds(&with(&other)).unwrap());
        assert!(!known.holds(&with("What is rain?")).unwrap());
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
        let found = alike(&texts);
        let mut reached = vec![0];
        while let Some(next) = (0..4).find(|number| {
            let joins = |(a, b): &(u32, u32)| {
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

//! Splits: every prompt on one side, with all that is like it.

use std::str::FromStr;

use crate::digest::Digest;
use crate::generation::Message;
use crate::quality::disjoint::DisjointSets;
use crate::quality::similar::{Known, Prompts};
use crate::store::{Scratch, Shelf, Sorter, StoreError};

/// How much one split may fall short of the whole before it is a mistake.
const ROUNDING: f64 = 1e-6;

/// The most splits.
const MOST: usize = 16;

/// Names that are taken: by the other files of an export whose ending rows may have too, by the manifest, and by what
/// the `datasets` library calls all splits together.
const TAKEN: [&str; 4] = ["dropped", "pairs", "manifest", "all"];

/// The splits of a dataset and the share of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits {
    parts: Vec<(String, f64)>,
}

impl Default for Splits {
    /// Everything in `train`.
    fn default() -> Self {
        Self {
            parts: vec![("train".to_owned(), 1.0)],
        }
    }
}

impl FromStr for Splits {
    type Err = String;

    /// Reads `train=0.9,test=0.1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts: Vec<(String, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, share) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is no NAME=SHARE, such as train=0.9"))?;
            let name = name.trim();
            check_name(name)?;
            // Where capitals are not told apart, one of two files would take the place of the other.
            let same = |(other, _): &(String, f64)| other.eq_ignore_ascii_case(name);
            if parts.iter().any(same) {
                return Err(format!("`{name}` is named twice"));
            }
            let share: f64 = share
                .trim()
                .parse()
                .ok()
                .filter(|share| *share > 0.0 && *share <= 1.0)
                .ok_or_else(|| format!("the share of `{name}` is not between 0 and 1"))?;
            parts.push((name.to_owned(), share));
        }
        if parts.len() > MOST {
            return Err(format!(
                "there are {} splits and {MOST} are allowed",
                parts.len()
            ));
        }
        let whole: f64 = parts.iter().map(|(_, share)| share).sum();
        if (whole - 1.0).abs() > ROUNDING {
            return Err(format!("the shares sum to {whole} and not to 1"));
        }
        Ok(Self { parts })
    }
}

/// Names that the `datasets` library takes for splits, and that no other file of an export has.
fn check_name(name: &str) -> Result<(), String> {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() || name.len() > 32 || !letters {
        return Err(format!(
            "`{}` cannot name a split; use letters, digits and _",
            name.escape_debug()
        ));
    }
    // Many file systems do not tell capitals apart.
    let taken = |other: &&str| name.eq_ignore_ascii_case(other);
    match TAKEN.iter().any(taken) {
        true => Err(format!("`{name}` cannot name a split; take another name")),
        false => Ok(()),
    }
}

impl Splits {
    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|(name, _)| name.as_str())
    }

    /// As it is written on the command line.
    pub fn source(&self) -> String {
        let part = |(name, share): &(String, f64)| format!("{name}={share}");
        let parts: Vec<_> = self.parts.iter().map(part).collect();
        parts.join(",")
    }

    /// These splits; their shares sum to 1.
    pub(super) fn of(parts: &[(&str, f64)]) -> Self {
        let part = |(name, share): &(&str, f64)| ((*name).to_owned(), *share);
        Self {
            parts: parts.iter().map(part).collect(),
        }
    }

    /// Each split in two halves of these endings.
    pub(super) fn halved(&self, endings: [&str; 2]) -> Self {
        let halves = |(name, share): &(String, f64)| {
            endings.map(|ending| (format!("{name}_{ending}"), share / 2.0))
        };
        Self {
            parts: self.parts.iter().flat_map(halves).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }
}

/// What tells prompts apart for splitting: who says what, capitals and white space aside.
pub(super) fn prompt_key(messages: &[Message]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for message in messages {
        hasher.update(message.role.as_str().as_bytes());
        for word in message.content.split_whitespace() {
            hasher.update(b" ");
            hasher.update(word.to_lowercase().as_bytes());
        }
        hasher.update(b"\n");
    }
    first_bytes(&hasher.finalize())
}

fn first_bytes(hash: &blake3::Hash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// The shelf of the prompts' numbers, by their keys.
const NUMBERS: Shelf = 0;

/// Prompts and how many rows each gives, counted before anything is written. They have numbers in the order in which
/// they were met. What tells them apart, and which of them are nearly the same, lies on disk.
#[derive(Debug)]
pub(super) struct Census {
    met: Scratch,
    /// The prompt of the last row: most come together with others of theirs.
    last: Option<(u64, u32)>,
    /// The keys of the prompts.
    keys: Sorter,
    /// How many rows each gives.
    rows: Vec<u32>,
    /// Prompts that have to be on one side.
    groups: DisjointSets,
    /// The prompts by what they say.
    said: Prompts,
    /// The split of each, once they have one.
    sides: Vec<u8>,
}

impl Census {
    /// No prompts yet.
    ///
    /// # Errors
    ///
    /// Here and below: when there is no room for a temporary file.
    pub fn begin() -> Result<Self, StoreError> {
        Ok(Self {
            met: Scratch::begin()?,
            last: None,
            keys: Sorter::default(),
            rows: Vec::new(),
            groups: DisjointSets::default(),
            said: Prompts::begin()?,
            sides: Vec::new(),
        })
    }

    /// Counts a row of a prompt, by its [`prompt_key`].
    pub fn count(&mut self, key: u64, prompt: &[Message]) -> Result<(), StoreError> {
        match self.is_new(key)? {
            true => self.said.add(prompt),
            false => Ok(()),
        }
    }

    /// Counts a row of a prompt, and tells whether that was not met before.
    fn is_new(&mut self, key: u64) -> Result<bool, StoreError> {
        let next = self.rows.len() as u32;
        let met = match self.last {
            Some((last, number)) if last == key => Some(number),
            _ => self.met.meet(NUMBERS, key, next)?,
        };
        if met.is_none() {
            self.keys.add(key, next)?;
            self.rows.push(0);
            self.groups.push();
        }
        let number = met.unwrap_or(next);
        self.last = Some((key, number));
        let rows = &mut self.rows[number as usize];
        *rows = rows.saturating_add(1);
        Ok(met.is_none())
    }

    /// Puts prompts that are nearly the same into one group.
    pub fn join_alike(&mut self) -> Result<(), StoreError> {
        let groups = &mut self.groups;
        self.said.alike(|one, other| groups.join(one, other))
    }

    /// Gives every prompt a split. Which one depends on seed and prompts, not on the order in which they were
    /// counted. Shares are kept as nearly as groups allow, and where there are enough groups, no split stays
    /// empty.
    pub fn assign(&mut self, splits: &Splits, seed: u64) -> Result<Assignment, StoreError> {
        let count = self.rows.len();
        let mut keys = Vec::with_capacity(count);
        let mut numbers = Vec::with_capacity(count);
        let mut groups = Sorter::default();
        let mut rows = vec![0_u32; count];
        for prompt in std::mem::take(&mut self.keys).sorted()? {
            let (key, number) = prompt?;
            let first = self.groups.lowest(number);
            let of_group = &mut rows[first as usize];
            // The key that stands for a group is its lowest, so that it comes first.
            if *of_group == 0 {
                groups.add(drawn(seed, key), first)?;
            }
            *of_group = of_group.saturating_add(self.rows[number as usize]);
            keys.push(key);
            numbers.push(number);
        }
        let total: u64 = self.rows.iter().map(|rows| u64::from(*rows)).sum();
        let (mut order, mut sides) = (Vec::new(), Vec::new());
        let mut before = 0;
        // In an order that seed and keys decide.
        for group in groups.sorted()? {
            let (_, first) = group?;
            let rows = u64::from(rows[first as usize]);
            let middle = (before as f64 + rows as f64 / 2.0) / total.max(1) as f64;
            order.push(first);
            sides.push(side(splits, middle));
            before += rows;
        }
        fill_empty(&mut sides, splits.len());
        self.sides = vec![0; count];
        for (first, side) in order.iter().zip(&sides) {
            self.sides[*first as usize] = *side;
        }
        for number in 0..count as u32 {
            self.sides[number as usize] = self.sides[self.groups.lowest(number) as usize];
        }
        let side = |number: &u32| self.sides[*number as usize];
        Ok(Assignment {
            keys: keys.into(),
            sides: numbers.iter().map(side).collect(),
            groups: order.len() as u64,
        })
    }

    /// The prompts that are not in the first split, once they have splits.
    pub fn elsewhere(self) -> Result<Known, StoreError> {
        let side = |number: u32| self.sides.get(number as usize);
        self.said
            .known(|number| side(number).is_some_and(|side| *side != 0))
    }
}

/// What decides the place of a group among others: the first digits of a digest.
fn drawn(seed: u64, key: u64) -> u64 {
    let digest = Digest::of(&("split", seed, key));
    let first = digest.as_str().get(3..19);
    // These are hexadecimal digits, after the tag of three characters.
    u64::from_str_radix(first.unwrap_or_default(), 16).unwrap_or_default()
}

fn side(splits: &Splits, place: f64) -> u8 {
    let mut end = 0.0;
    for ((_, share), index) in splits.parts.iter().zip(0..) {
        end += share;
        if place < end {
            return index;
        }
    }
    splits.len() as u8 - 1
}

/// Small datasets: a split without a group takes one from the split that has most.
fn fill_empty(sides: &mut [u8], splits: usize) {
    let count = |sides: &[u8], split: u8| sides.iter().filter(|side| **side == split).count();
    let splits = splits as u8;
    for empty in 0..splits {
        if count(sides, empty) > 0 {
            continue;
        }
        let Some(richest) = (0..splits).rev().max_by_key(|split| count(sides, *split)) else {
            return;
        };
        if count(sides, richest) < 2 {
            return;
        }
        if let Some(last) = sides.iter_mut().rev().find(|side| **side == richest) {
            *last = empty;
        }
    }
}

/// Which split every prompt belongs to.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    /// The prompts in order, and the split of each.
    keys: Box<[u64]>,
    sides: Box<[u8]>,
    /// Groups of prompts.
    pub groups: u64,
}

impl Assignment {
    /// The split of a prompt; the first for one that was not counted.
    pub fn side(&self, key: u64) -> usize {
        let place = self.keys.binary_search(&key);
        place.map_or(0, |place| self.sides[place].into())
    }
}

#[cfg(test)]
mod tests;

//! Splits: every prompt on one side, with all that is like it.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::digest::Digest;
use crate::generation::Message;
use crate::quality::similar::{Known, Prompts};
use crate::store::StoreError;

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

/// Prompts and how many rows each gives, counted before anything is written. What tells which of them are nearly the
/// same lies on disk.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Rows by prompt, and the group that the prompt belongs to.
    prompts: BTreeMap<u64, Prompt>,
    /// The prompts in the order in which they were met.
    keys: Vec<u64>,
    /// The same by what they say; `None` before the first.
    said: Option<Prompts>,
}

#[derive(Debug)]
struct Prompt {
    rows: u64,
    /// Another prompt of the same group; itself for the first.
    group: u64,
}

impl Census {
    /// Counts a row of a prompt, by its [`prompt_key`].
    pub fn count(&mut self, key: u64, prompt: &[Message]) -> Result<(), StoreError> {
        if !self.prompts.contains_key(&key) {
            let said = match &mut self.said {
                Some(said) => said,
                none => none.insert(Prompts::begin()?),
            };
            said.add(prompt)?;
            self.keys.push(key);
        }
        self.count_key(key);
        Ok(())
    }

    fn count_key(&mut self, key: u64) {
        let fresh = Prompt {
            rows: 0,
            group: key,
        };
        self.prompts.entry(key).or_insert(fresh).rows += 1;
    }

    /// Puts prompts that are nearly the same into one group.
    pub fn join_alike(&mut self) -> Result<(), StoreError> {
        let Some(said) = self.said.take() else {
            return Ok(());
        };
        let joined = said.alike(|one, other| {
            self.join(self.keys[one as usize], self.keys[other as usize]);
        });
        self.said = Some(said);
        joined
    }

    /// The prompts that are not in the first split; `None` where there is no prompt at all.
    pub fn elsewhere(self, assignment: &Assignment) -> Result<Option<Known>, StoreError> {
        let elsewhere = |number: u32| assignment.side(self.keys[number as usize]) != 0;
        self.said.map(|said| said.known(elsewhere)).transpose()
    }

    /// Puts two counted prompts, and all that belong to either, into one group.
    fn join(&mut self, one: u64, other: u64) {
        let (one, other) = (self.group(one), self.group(other));
        // The lower key stands for the group, so that the order of joining does not matter.
        let (low, high) = (one.min(other), one.max(other));
        if let Some(prompt) = self.prompts.get_mut(&high) {
            prompt.group = low;
        }
    }

    fn group(&self, mut key: u64) -> u64 {
        while let Some(prompt) = self.prompts.get(&key).filter(|prompt| prompt.group != key) {
            key = prompt.group;
        }
        key
    }

    /// Gives every prompt a split. Which one depends on seed and prompts, not on the order in which they were
    /// counted. Shares are kept as nearly as groups allow, and where there are enough groups, no split stays
    /// empty.
    pub fn assign(&self, splits: &Splits, seed: u64) -> Assignment {
        let groups = self.groups(seed);
        let total: u64 = groups.iter().map(|group| group.rows).sum();
        let mut sides = Vec::with_capacity(groups.len());
        let mut before = 0;
        for Group { rows, .. } in &groups {
            let middle = (before as f64 + *rows as f64 / 2.0) / total.max(1) as f64;
            sides.push(side(splits, middle));
            before += rows;
        }
        fill_empty(&mut sides, splits.len());
        let mut by_group: Vec<(u64, u8)> =
            groups.iter().map(|group| group.key).zip(sides).collect();
        by_group.sort_unstable();
        let side = |key: &u64| {
            let group = by_group.binary_search_by_key(&self.group(*key), |(key, _)| *key);
            group.map_or(0, |group| by_group[group].1)
        };
        Assignment {
            keys: self.prompts.keys().copied().collect(),
            sides: self.prompts.keys().map(side).collect(),
            groups: by_group.len() as u64,
        }
    }

    /// The groups and how many rows each gives, in an order that seed and keys decide.
    fn groups(&self, seed: u64) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        // The key that stands for a group is its lowest, so that it comes first.
        for (key, prompt) in &self.prompts {
            let group = self.group(*key);
            match groups.binary_search_by_key(&group, |group| group.key) {
                Ok(group) => groups[group].rows += prompt.rows,
                Err(_) => groups.push(Group::new(seed, group, prompt.rows)),
            }
        }
        groups.sort_unstable_by(|a, b| {
            let whole = || drawn(seed, a.key).cmp(&drawn(seed, b.key));
            a.drawn
                .cmp(&b.drawn)
                .then_with(whole)
                .then(a.key.cmp(&b.key))
        });
        groups
    }
}

/// Prompts that have to be on one side.
struct Group {
    /// The first digits of what decides its place.
    drawn: [u8; 16],
    key: u64,
    rows: u64,
}

impl Group {
    fn new(seed: u64, key: u64, rows: u64) -> Self {
        let mut first = [0; 16];
        let digest = drawn(seed, key);
        for (place, byte) in first.iter_mut().zip(digest.as_str().bytes()) {
            *place = byte;
        }
        Self {
            drawn: first,
            key,
            rows,
        }
    }
}

/// What decides the place of a group among others.
fn drawn(seed: u64, key: u64) -> Digest {
    Digest::of(&("split", seed, key))
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn splits(text: &str) -> Splits {
        text.parse().unwrap()
    }

    #[test]
    fn shares_are_read_and_mistakes_are_named() {
        let read = splits("train=0.8, valid=0.1,test=0.1");
        assert_eq!(read.names().collect::<Vec<_>>(), ["train", "valid", "test"]);
        assert_eq!(read.source(), "train=0.8,valid=0.1,test=0.1");
        for (text, expected) in [
            ("train", "is no NAME=SHARE"),
            ("train=0.9,train=0.1", "named twice"),
            ("train=0.9,Train=0.1", "named twice"),
            ("train=0.9,test=0.2", "sum to 1.1"),
            ("train=1.5,test=-0.5", "not between"),
            ("train=NaN,test=1", "not between"),
            ("../x=1", "cannot name a split"),
            ("dropped=1", "take another name"),
            ("train=0.5,pairs=0.5", "take another name"),
            ("train=0.5,Pairs=0.5", "take another name"),
            ("", "is no NAME=SHARE"),
        ] {
            let error = text.parse::<Splits>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn capitals_and_white_space_tell_no_prompts_apart_and_roles_do() {
        let key = |messages: &[Message]| prompt_key(messages);
        assert_eq!(
            key(&[Message::user("How  are\nyou?")]),
            key(&[Message::user(" how are you? ")])
        );
        assert_ne!(
            key(&[Message::user("a b")]),
            key(&[Message::user("a"), Message::user("b")])
        );
        assert_ne!(key(&[Message::user("a")]), key(&[Message::assistant("a")]));
    }

    #[test]
    fn a_small_dataset_leaves_no_split_empty() {
        let mut census = Census::default();
        (0..3).for_each(|key| census.count_key(key));
        let assignment = census.assign(&splits("train=0.98,valid=0.01,test=0.01"), 7);
        let mut sides: Vec<_> = (0..3).map(|key| assignment.side(key)).collect();
        sides.sort_unstable();
        assert_eq!(sides, [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn no_group_is_on_two_sides_and_order_changes_nothing(
            keys in prop::collection::vec(0_u64..60, 1..200),
            joins in prop::collection::vec((0_usize..200, 0_usize..200), 0..40),
            seed in any::<u64>(),
        ) {
            let pair = |(a, b): &(usize, usize)| (keys[a % keys.len()], keys[b % keys.len()]);
            let splits = splits("train=0.7,valid=0.1,test=0.2");
            let (mut census, mut other) = (Census::default(), Census::default());
            keys.iter().for_each(|key| census.count_key(*key));
            joins.iter().map(pair).for_each(|(a, b)| census.join(a, b));
            keys.iter().rev().for_each(|key| other.count_key(*key));
            joins.iter().rev().map(pair).for_each(|(a, b)| other.join(b, a));
            let (assignment, again) = (census.assign(&splits, seed), other.assign(&splits, seed));
            for key in &keys {
                prop_assert_eq!(assignment.side(*key), again.side(*key));
            }
            for (a, b) in joins.iter().map(pair) {
                prop_assert_eq!(assignment.side(a), assignment.side(b));
            }
        }

        #[test]
        fn shares_are_kept_to_within_the_largest_group(
            rows in prop::collection::vec(1_u64..9, 60..200), seed in any::<u64>(),
        ) {
            let splits = splits("train=0.8,test=0.2");
            let mut census = Census::default();
            for (key, rows) in rows.iter().enumerate() {
                (0..*rows).for_each(|_| census.count_key(key as u64));
            }
            let assignment = census.assign(&splits, seed);
            let test: u64 = (0..rows.len())
                .filter(|key| assignment.side(*key as u64) == 1)
                .map(|key| rows[key])
                .sum();
            let target = rows.iter().sum::<u64>() as f64 * 0.2;
            prop_assert!((test as f64 - target).abs() <= 8.0, "{} for {}", test, target);
        }
    }
}

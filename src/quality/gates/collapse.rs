//! Collapse: wording that revisions have brought in and repeat.
//!
//! A wording is a phrase of three to five words, the first or the last three words of a text, or an emoji. It is
//! counted once for every text that holds it, in the chosen texts and in the drafts. What tells them apart is
//! the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, *Fightin' Words*):
//! the prior is the wording's share of all texts, so that what is rare everywhere has to differ by more. A
//! wording counts where its z-score, its share of the chosen texts, and the ratio of both shares are high.
//!
//! Rows beyond the cap are left out, drawn by a hash of the chain and not by their order. Since fewer rows make
//! other shares, this is repeated until nothing more has to go.

mod held;
mod passages;
mod texts;
mod tokens;

use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::rows::HELD;
use crate::store::{Scratch, Sorter, StoreError};
use held::{Held, from_bytes, to_bytes};
use passages::{MOST, passages};
use tokens::{ByKey, Key, wordings};

use texts::Texts;
pub(super) use texts::{Both, Rows};
pub use tokens::WordingKind;
pub(super) use tokens::{Tokens, words_at};

/// The z-score from which a difference is no chance: one in a thousand, two-sided.
const Z: f64 = 3.29;
/// How many times its share of the drafts a wording must reach.
const RATIO: f64 = 2.0;
/// The weight of the prior, in texts.
const PRIOR: f64 = 10.0;
/// The fewest chosen texts that hold a wording which counts.
const FEWEST: u32 = 5;
/// Rows in which wordings are looked for; they are then counted in all.
const LOOKED_IN: usize = 4096;
/// The share of those rows, of the cap, from which a wording is counted in all.
const MARGIN: f64 = 0.4;

/// A wording that revisions repeat.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub kind: WordingKind,
    /// Chosen texts that hold it.
    pub chosen: u32,
    /// Drafts that hold it.
    pub drafts: u32,
    /// Rows that were looked at.
    pub rows: u32,
    pub z: f64,
    /// Rows that were left out for it.
    pub dropped: u32,
    /// A row whose chosen text holds it, and where: the first token and how many.
    pub example: (u32, usize, usize),
    key: Key,
}

/// What became of the rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    rows: States,
    /// The wordings, most significant first in each pass.
    pub found: Vec<Found>,
}

impl Outcome {
    /// The rows that are left out, each with the number of the wording for which it is.
    pub fn dropped(&self) -> impl Iterator<Item = (u32, usize)> + '_ {
        let all = (0..).zip(&self.rows.0);
        all.filter(|(_, state)| **state < States::LEFT)
            .map(|(row, state)| (row, usize::from(*state)))
    }
}

/// For each row the number of the wording for which it is left out, or one of two other numbers.
#[derive(Clone, Debug, Default, PartialEq)]
struct States(Vec<u16>);

impl States {
    /// It was not left out.
    const LEFT: u16 = u16::MAX - 1;
    /// It is not compared.
    const APART: u16 = u16::MAX;

    fn of(rows: &Rows<'_>) -> Self {
        let state = |row| match (rows.compared)(row) {
            true => Self::LEFT,
            false => Self::APART,
        };
        Self((0..rows.count).map(state).collect())
    }

    fn is_left(&self, row: u32) -> bool {
        self.0[row as usize] == Self::LEFT
    }

    /// The rows that are left, in order.
    fn left(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.0.len() as u32).filter(|row| self.is_left(*row))
    }
}

/// Looks for wordings that more than the share `cap` of the chosen texts hold, and for the rows to leave out. What the
/// rows hold is put on `scratch` meanwhile.
pub(super) fn find(rows: &Rows<'_>, cap: f64, scratch: &Scratch) -> Result<Outcome, StoreError> {
    let mut outcome = Outcome {
        rows: States::of(rows),
        found: Vec::new(),
    };
    let mut index = Index {
        rows,
        known: ByKey::default(),
        kinds: Vec::new(),
        scratch,
        made: false,
    };
    loop {
        let states = &mut outcome.rows;
        let left = states.left().count();
        index.learn(states, left, cap)?;
        let found = index.significant(states, left, cap)?;
        let beyond = index.beyond(states, left, &found, cap)?;
        let mut numbers = Vec::with_capacity(found.len());
        for wording in found {
            let told = outcome.found.iter().position(|f| f.key == wording.key);
            numbers.push(told.unwrap_or(outcome.found.len()));
            if told.is_none() {
                outcome.found.push(wording);
            }
        }
        let mut gone = 0;
        for entry in beyond.sorted()? {
            let (wording, row) = entry?;
            let number = numbers[wording as usize];
            // More wordings than there are numbers for are told by the last of them.
            let state = u16::try_from(number).map_or(States::LEFT - 1, |n| n.min(States::LEFT - 1));
            if states.is_left(row) {
                states.0[row as usize] = state;
                outcome.found[number].dropped += 1;
                gone += 1;
            }
        }
        if gone == 0 {
            return Ok(outcome);
        }
    }
}

/// The wordings that may count, and which rows hold them.
struct Index<'a> {
    rows: &'a Rows<'a>,
    known: ByKey<u32>,
    kinds: Vec<(WordingKind, Key)>,
    /// For each row that holds any, the numbers of those of its chosen text and of its draft.
    scratch: &'a Scratch,
    /// Whether they are there.
    made: bool,
}

impl Index<'_> {
    /// Takes up the wordings that a sample of the rows holds often enough.
    fn learn(&mut self, states: &States, left: usize, cap: f64) -> Result<(), StoreError> {
        let sample = self.sample(states);
        let least = (cap * MARGIN * sample.len() as f64).max(1.0);
        // Below that, no share of all rows reaches the cap, or the fewest rows.
        let least = match sample.len() < left {
            true => least,
            false => least.max(f64::from(FEWEST)),
        };
        let texts = Texts::of(self.rows, &sample)?;
        let counted = sample
            .par_chunks(256)
            .map(|rows_of| {
                let mut counts: ByKey<(u32, WordingKind)> = ByKey::default();
                let chosen = rows_of.iter().filter_map(|&row| texts.get(row));
                for (key, kind) in chosen.flat_map(|[chosen, _]| distinct(chosen)) {
                    counts.entry(key).or_insert((0, kind)).0 += 1;
                }
                counts
            })
            .reduce(ByKey::default, |mut all, part| {
                for (key, (count, kind)) in part {
                    all.entry(key).or_insert((0, kind)).0 += count;
                }
                all
            });
        let mut new: Vec<_> = counted
            .into_iter()
            .filter(|(key, (count, _))| f64::from(*count) >= least && !self.known.contains_key(key))
            .map(|(key, (_, kind))| (kind, key))
            .collect();
        if new.is_empty() && self.made {
            return Ok(());
        }
        new.sort_unstable();
        for (kind, key) in new {
            self.known.insert(key, self.kinds.len() as u32);
            self.kinds.push((kind, key));
        }
        self.made = true;
        match self.known.is_empty() {
            true => Ok(()),
            false => self.look_at_all(states),
        }
    }

    /// Some of the rows that are left: those with the lowest priorities.
    fn sample(&self, states: &States) -> Vec<u32> {
        let mut sample = BinaryHeap::with_capacity(LOOKED_IN + 1);
        for row in states.left() {
            sample.push(self.rows.place(row));
            if sample.len() > LOOKED_IN {
                sample.pop();
            }
        }
        sample.into_iter().map(|(_, row)| row).collect()
    }

    /// Finds out what the rows that are left hold.
    fn look_at_all(&self, states: &States) -> Result<(), StoreError> {
        let looking = Looking {
            known: &self.known,
            scratch: self.scratch,
        };
        let kept = self.rows.kept.par_iter();
        kept.filter(|(row, _)| states.is_left(**row))
            .try_for_each(|(row, texts)| looking.at(*row, texts))?;
        let mut missing = states.left().filter(|&row| self.rows.is_gone(row));
        let failed = Mutex::new(None);
        (self.rows.again)(&mut missing, &|row, texts| {
            if let Err(error) = looking.at(row, &texts) {
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                *failed = Some(error);
            }
        })?;
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map_or(Ok(()), Err)
    }

    /// Hands out every row that is left and holds any wording, with those of its chosen text and of its draft.
    fn each_held(
        &self,
        states: &States,
        mut each: impl FnMut(u32, [Held<'_>; 2]),
    ) -> Result<(), StoreError> {
        if self.known.is_empty() {
            return Ok(());
        }
        self.scratch.each(HELD, |row, bytes| {
            if states.is_left(row) {
                each(row, from_bytes(bytes));
            }
        })
    }

    /// The wordings that count among the rows that are left, most significant first; those that another one
    /// explains are left out.
    fn significant(
        &self,
        states: &States,
        left: usize,
        cap: f64,
    ) -> Result<Vec<Found>, StoreError> {
        let mut counts = vec![[0_u32; 2]; self.kinds.len()];
        self.each_held(states, |_, both| {
            for (side, held) in both.into_iter().enumerate() {
                for wording in held.numbers() {
                    counts[wording as usize][side] += 1;
                }
            }
        })?;
        let total = left as f64;
        let mut found: Vec<(usize, f64)> = Vec::new();
        for (number, &[chosen, drafts]) in counts.iter().enumerate() {
            let enough = chosen >= FEWEST
                && f64::from(chosen) > cap * total
                && f64::from(chosen) >= RATIO * f64::from(drafts);
            let z = z_score(f64::from(chosen), f64::from(drafts), total);
            if enough && z >= Z {
                found.push((number, z));
            }
        }
        found.sort_by(|a, b| {
            b.1.total_cmp(&a.1)
                .then(self.kinds[a.0].cmp(&self.kinds[b.0]))
        });
        let numbers: Vec<usize> = found.iter().map(|&(number, _)| number).collect();
        let examples = self.examples(states, &numbers)?;
        let mut wanted = examples.clone();
        wanted.sort_unstable();
        wanted.dedup();
        let texts = Texts::of(self.rows, &wanted)?;
        let found: Vec<Found> = found
            .into_iter()
            .zip(examples)
            .filter_map(|((number, z), example)| {
                Some(Found {
                    kind: self.kinds[number].0,
                    chosen: counts[number][0],
                    drafts: counts[number][1],
                    rows: left as u32,
                    z,
                    dropped: 0,
                    example: self.place(texts.get(example)?, example, number)?,
                    key: self.kinds[number].1,
                })
            })
            .collect();
        Ok(passages(&texts, found))
    }

    /// For each of these wordings a row whose chosen text holds it: the one of lowest priority.
    fn examples(&self, states: &States, numbers: &[usize]) -> Result<Vec<u32>, StoreError> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let mut lowest: Vec<Option<(u64, u32)>> = vec![None; self.kinds.len()];
        self.each_held(states, |row, [chosen, _]| {
            let this = self.rows.place(row);
            for wording in chosen.numbers() {
                let lowest = &mut lowest[wording as usize];
                *lowest = Some(lowest.map_or(this, |lowest| lowest.min(this)));
            }
        })?;
        // What counts is held by some row.
        let example = |&number: &usize| lowest[number].map_or(0, |(_, row)| row);
        Ok(numbers.iter().map(example).collect())
    }

    /// Where a wording stands in the texts of a row.
    fn place(
        &self,
        [chosen, _]: &[Tokens; 2],
        row: u32,
        number: usize,
    ) -> Option<(u32, usize, usize)> {
        let (kind, key) = self.kinds[number];
        let mut place = None;
        wordings(chosen, |found, other, start, length| {
            if (found, other) == (kind, key) && place.is_none() {
                place = Some((row, start, length));
            }
        });
        place
    }

    /// For each of these wordings the rows beyond the cap, by its place among them: of those that hold it, the ones with
    /// the highest priorities. `left` rows are left.
    fn beyond(
        &self,
        states: &States,
        left: usize,
        found: &[Found],
        cap: f64,
    ) -> Result<Sorter, StoreError> {
        const { assert!(MOST <= 1 << WORDING_BITS) };
        let mut beyond = Sorter::default();
        if found.is_empty() {
            return Ok(beyond);
        }
        let mut places: Vec<Option<u64>> = vec![None; self.kinds.len()];
        for (wording, place) in found.iter().zip(0..) {
            if let Some(&number) = self.known.get(&wording.key) {
                places[number as usize] = Some(place);
            }
        }
        let mut holders = Sorter::default();
        let mut counts = vec![0_usize; found.len()];
        let mut outcome = Ok(());
        // What the rows hold is read once for all wordings.
        self.each_held(states, |row, [chosen, _]| {
            let told = chosen
                .numbers()
                .filter_map(|number| places[number as usize]);
            for place in told {
                counts[place as usize] += 1;
                let priority = (self.rows.priority)(row) >> WORDING_BITS;
                if outcome.is_ok() {
                    outcome = holders.add(place << (u64::BITS - WORDING_BITS) | priority, row);
                }
            }
        })?;
        outcome?;
        let allowed: Vec<usize> = found
            .iter()
            .zip(&counts)
            .map(|(wording, count)| allowed(wording, left, *count, cap))
            .collect();
        let mut met = vec![0; found.len()];
        for entry in holders.sorted()? {
            let (value, row) = entry?;
            let place = value >> (u64::BITS - WORDING_BITS);
            met[place as usize] += 1;
            if met[place as usize] > allowed[place as usize] {
                beyond.add(place, row)?;
            }
        }
        Ok(beyond)
    }
}

/// Looks for the known wordings, on any thread.
#[derive(Clone, Copy)]
struct Looking<'a> {
    known: &'a ByKey<u32>,
    scratch: &'a Scratch,
}

impl Looking<'_> {
    fn at(self, row: u32, texts: &[Tokens; 2]) -> Result<(), StoreError> {
        let held = texts.each_ref().map(|text| {
            let mut held = Vec::new();
            wordings(text, |_, key, _, _| held.extend(self.known.get(&key)));
            held.sort_unstable();
            held.dedup();
            held
        });
        match held.iter().all(Vec::is_empty) {
            true => Ok(()),
            false => self.scratch.put(HELD, row, &to_bytes(&held)),
        }
    }
}

/// Bits that tell the wordings of one pass apart.
const WORDING_BITS: u32 = 7;

/// How many of the rows that hold a wording may stay, so that they are no more than the cap of what is left.
fn allowed(wording: &Found, left: usize, holders: usize, cap: f64) -> usize {
    let total = left as f64;
    // What drafts hold anyway is no collapse.
    let share = cap.max(f64::from(wording.drafts) / total);
    let others = total - holders as f64;
    (share * others / (1.0 - share).max(1e-9)).floor() as usize
}

/// The wordings of a text, each once.
fn distinct(text: &Tokens) -> Vec<(Key, WordingKind)> {
    let mut all = Vec::new();
    wordings(text, |kind, key, _, _| all.push((key, kind)));
    all.sort_unstable();
    all.dedup();
    all
}

/// The z-score of the difference of two shares of the same number of texts.
fn z_score(chosen: f64, drafts: f64, total: f64) -> f64 {
    let share = (chosen + drafts) / (2.0 * total);
    let (with, without) = (PRIOR * share, PRIOR * (1.0 - share));
    let part = |count: f64| (count + with, total - count + without);
    let ((a, b), (c, d)) = (part(chosen), part(drafts));
    let log_odds = (a / b).ln() - (c / d).ln();
    log_odds / (1.0 / a + 1.0 / b + 1.0 / c + 1.0 / d).sqrt()
}

#[cfg(test)]
mod tests;

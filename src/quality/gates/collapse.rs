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
mod tokens;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::rows::HELD;
use crate::store::{Scratch, StoreError};
use held::{Held, from_bytes, to_bytes};
use passages::{MOST, passages};
use tokens::{ByKey, Key, wordings};

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

/// A row, as far as its wording goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// What is counted.
    pub texts: Both,
    /// Rows with a higher number go first.
    pub priority: u64,
}

/// The chosen text and the draft of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Both {
    /// They are the same.
    #[default]
    Same,
    /// They were kept.
    Kept(Box<[Tokens; 2]>),
    /// There was no room for them.
    NotKept,
}

/// Reads chosen texts and drafts again, of the rows with these numbers, and hands them over one row at a time,
/// to several threads at once.
pub(super) type Again<'a> =
    &'a dyn Fn(&[usize], &(dyn Fn(usize, [Tokens; 2]) + Sync)) -> Result<(), StoreError>;

/// Those of the rows whose texts were not kept.
fn not_kept(rows: &[Row], numbers: &[usize]) -> Vec<usize> {
    let gone = |number: &usize| rows[*number].texts == Both::NotKept;
    numbers.iter().copied().filter(gone).collect()
}

/// Texts of some rows: those that were kept, and those that were read again.
struct Texts<'a> {
    rows: &'a [Row],
    read: HashMap<usize, [Tokens; 2]>,
}

impl<'a> Texts<'a> {
    fn of(rows: &'a [Row], numbers: &[usize], again: Again<'_>) -> Result<Self, StoreError> {
        let read: Mutex<HashMap<usize, [Tokens; 2]>> = Mutex::default();
        let missing = not_kept(rows, numbers);
        if !missing.is_empty() {
            again(&missing, &|number: usize, texts: [Tokens; 2]| {
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                read.insert(number, texts);
            })?;
        }
        let read = read.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Self { rows, read })
    }

    fn get(&self, number: usize) -> Option<&[Tokens; 2]> {
        match &self.rows[number].texts {
            Both::Same => None,
            Both::Kept(texts) => Some(&**texts),
            Both::NotKept => self.read.get(&number),
        }
    }

    fn chosen(&self, number: usize) -> &[u32] {
        self.get(number)
            .map_or(&[][..], |[chosen, _]| &chosen.0[..])
    }
}

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
    pub example: (usize, usize, usize),
    key: Key,
}

/// What became of the rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// For each row, the number of the wording for which it is left out.
    pub dropped: Vec<Option<u32>>,
    /// The wordings, most significant first in each pass.
    pub found: Vec<Found>,
}

/// Looks for wordings that more than the share `cap` of the chosen texts hold, and for the rows to leave out. What the
/// rows hold is put on `scratch` meanwhile.
pub(super) fn find(
    rows: &[Row],
    cap: f64,
    scratch: &Scratch,
    again: Again<'_>,
) -> Result<Outcome, StoreError> {
    let mut outcome = Outcome {
        dropped: vec![None; rows.len()],
        found: Vec::new(),
    };
    let mut index = Index {
        known: ByKey::default(),
        kinds: Vec::new(),
        scratch,
        made: false,
    };
    loop {
        let left: Vec<usize> = (0..rows.len())
            .filter(|&row| outcome.dropped[row].is_none())
            .collect();
        index.learn(rows, &left, cap, again)?;
        let found = index.significant(rows, &left, cap, again)?;
        let holding = index.holding(rows.len(), &left, &found)?;
        let mut gone = 0;
        for (wording, bit) in found.into_iter().zip(0..) {
            let holds = |row: &usize| holding[*row] >> bit & 1 == 1;
            let holders = left.iter().copied().filter(holds).collect();
            let beyond = beyond(rows, holders, left.len(), &wording, cap);
            let told = outcome
                .found
                .iter()
                .position(|other| other.key == wording.key);
            let number = told.unwrap_or_else(|| {
                outcome.found.push(wording);
                outcome.found.len() - 1
            });
            for row in beyond {
                if outcome.dropped[row].is_none() {
                    outcome.dropped[row] = Some(number as u32);
                    outcome.found[number].dropped += 1;
                    gone += 1;
                }
            }
        }
        if gone == 0 {
            return Ok(outcome);
        }
    }
}

/// The wordings that may count, and which rows hold them.
struct Index<'a> {
    known: ByKey<u32>,
    kinds: Vec<(WordingKind, Key)>,
    /// For each row that holds any, the numbers of those of its chosen text and of its draft.
    scratch: &'a Scratch,
    /// Whether they are there.
    made: bool,
}

impl Index<'_> {
    /// Takes up the wordings that a sample of the rows holds often enough.
    fn learn(
        &mut self,
        rows: &[Row],
        left: &[usize],
        cap: f64,
        again: Again<'_>,
    ) -> Result<(), StoreError> {
        let mut sample: Vec<usize> = left.to_vec();
        if sample.len() > LOOKED_IN {
            sample.select_nth_unstable_by_key(LOOKED_IN, |&row| (rows[row].priority, row));
            sample.truncate(LOOKED_IN);
        }
        let least = (cap * MARGIN * sample.len() as f64).max(1.0);
        // Below that, no share of all rows reaches the cap, or the fewest rows.
        let least = match sample.len() < left.len() {
            true => least,
            false => least.max(f64::from(FEWEST)),
        };
        let texts = Texts::of(rows, &sample, again)?;
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
            false => self.look_at_all(rows, left, again),
        }
    }

    /// Finds out what the rows that are left hold.
    fn look_at_all(
        &self,
        rows: &[Row],
        left: &[usize],
        again: Again<'_>,
    ) -> Result<(), StoreError> {
        left.par_iter()
            .try_for_each(|&row| match &rows[row].texts {
                Both::Kept(texts) => self.look_at(row, texts),
                Both::Same | Both::NotKept => Ok(()),
            })?;
        let missing = not_kept(rows, left);
        if missing.is_empty() {
            return Ok(());
        }
        let failed = Mutex::new(None);
        again(&missing, &|row: usize, texts: [Tokens; 2]| {
            if let Err(error) = self.look_at(row, &texts) {
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                *failed = Some(error);
            }
        })?;
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map_or(Ok(()), Err)
    }

    fn look_at(&self, row: usize, texts: &[Tokens; 2]) -> Result<(), StoreError> {
        let held = texts.each_ref().map(|text| {
            let mut held = Vec::new();
            wordings(text, |_, key, _, _| held.extend(self.known.get(&key)));
            held.sort_unstable();
            held.dedup();
            held
        });
        if held.iter().all(Vec::is_empty) {
            return Ok(());
        }
        self.scratch.put(HELD, row as u32, &to_bytes(&held))
    }

    /// Hands out every row that is left and holds any wording, with those of its chosen text and of its draft.
    fn each_held(
        &self,
        left: &[usize],
        mut each: impl FnMut(usize, [Held<'_>; 2]),
    ) -> Result<(), StoreError> {
        if self.known.is_empty() {
            return Ok(());
        }
        let mut left = left.iter().copied().peekable();
        self.scratch.each(HELD, |row, bytes| {
            let row = row as usize;
            while left.next_if(|&next| next < row).is_some() {}
            if left.peek() == Some(&row) {
                each(row, from_bytes(bytes));
            }
        })
    }

    /// The wordings that count among the rows that are left, most significant first; those that another one
    /// explains are left out.
    fn significant(
        &self,
        rows: &[Row],
        left: &[usize],
        cap: f64,
        again: Again<'_>,
    ) -> Result<Vec<Found>, StoreError> {
        let mut counts = vec![[0_u32; 2]; self.kinds.len()];
        self.each_held(left, |_, both| {
            for (side, held) in both.into_iter().enumerate() {
                for wording in held.numbers() {
                    counts[wording as usize][side] += 1;
                }
            }
        })?;
        let total = left.len() as f64;
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
        let examples = self.examples(rows, left, &numbers)?;
        let mut wanted = examples.clone();
        wanted.sort_unstable();
        wanted.dedup();
        let texts = Texts::of(rows, &wanted, again)?;
        let found: Vec<Found> = found
            .into_iter()
            .zip(examples)
            .filter_map(|((number, z), example)| {
                Some(Found {
                    kind: self.kinds[number].0,
                    chosen: counts[number][0],
                    drafts: counts[number][1],
                    rows: left.len() as u32,
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
    fn examples(
        &self,
        rows: &[Row],
        left: &[usize],
        numbers: &[usize],
    ) -> Result<Vec<usize>, StoreError> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let mut lowest: Vec<Option<(u64, usize)>> = vec![None; self.kinds.len()];
        self.each_held(left, |row, [chosen, _]| {
            let this = (rows[row].priority, row);
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
        row: usize,
        number: usize,
    ) -> Option<(usize, usize, usize)> {
        let (kind, key) = self.kinds[number];
        let mut place = None;
        wordings(chosen, |found, other, start, length| {
            if (found, other) == (kind, key) && place.is_none() {
                place = Some((row, start, length));
            }
        });
        place
    }

    /// Which of these wordings the chosen text of each row holds, a bit for each wording: what the rows hold is read
    /// once for all of them.
    fn holding(
        &self,
        rows: usize,
        left: &[usize],
        found: &[Found],
    ) -> Result<Vec<Bits>, StoreError> {
        const { assert!(MOST <= Bits::BITS as usize) };
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut bits: Vec<Bits> = vec![0; self.kinds.len()];
        for (wording, bit) in found.iter().zip(0..) {
            if let Some(&number) = self.known.get(&wording.key) {
                bits[number as usize] |= 1 << bit;
            }
        }
        let mut holding: Vec<Bits> = vec![0; rows];
        self.each_held(left, |row, [chosen, _]| {
            for number in chosen.numbers() {
                holding[row] |= bits[number as usize];
            }
        })?;
        Ok(holding)
    }
}

/// A bit for each of the wordings that one pass tells.
type Bits = u128;

/// The rows beyond the cap: of those that hold the wording, the ones with the highest priority. `left` rows were
/// counted.
fn beyond(
    rows: &[Row],
    mut holders: Vec<usize>,
    left: usize,
    wording: &Found,
    cap: f64,
) -> Vec<usize> {
    let total = left as f64;
    // What drafts hold anyway is no collapse.
    let share = cap.max(f64::from(wording.drafts) / total);
    let others = total - holders.len() as f64;
    // So many that they are that share of what is left.
    let allowed = (share * others / (1.0 - share).max(1e-9)).floor() as usize;
    holders.sort_unstable_by_key(|&row| (rows[row].priority, row));
    holders.split_off(allowed.min(holders.len()))
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

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

mod passages;
mod tokens;

use std::collections::HashMap;

use rayon::prelude::*;

use passages::passages;
use tokens::{Key, wordings};

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
    /// The chosen text and the draft; `None` where they are the same.
    pub texts: Option<[Tokens; 2]>,
    /// Rows with a higher number go first.
    pub priority: u64,
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
    pub dropped: Vec<Option<usize>>,
    /// The wordings, most significant first in each pass.
    pub found: Vec<Found>,
}

/// Looks for wordings that more than the share `cap` of the chosen texts hold, and for the rows to leave out.
pub(super) fn find(rows: &[Row], cap: f64) -> Outcome {
    let mut outcome = Outcome {
        dropped: vec![None; rows.len()],
        found: Vec::new(),
    };
    let mut index = Index::default();
    loop {
        let left: Vec<usize> = (0..rows.len())
            .filter(|&row| outcome.dropped[row].is_none())
            .collect();
        index.learn(rows, &left, cap);
        let found = index.significant(rows, &left, cap);
        let mut gone = 0;
        for wording in found {
            let beyond = index.beyond(rows, &left, &wording, cap);
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
                    outcome.dropped[row] = Some(number);
                    outcome.found[number].dropped += 1;
                    gone += 1;
                }
            }
        }
        if gone == 0 {
            return outcome;
        }
    }
}

/// The wordings that may count, and which rows hold them.
#[derive(Debug, Default)]
struct Index {
    known: HashMap<Key, u32>,
    kinds: Vec<(WordingKind, Key)>,
    /// For each row, what its chosen text and its draft hold.
    held: Vec<[Box<[u32]>; 2]>,
}

impl Index {
    /// Takes up the wordings that a sample of the rows holds often enough.
    fn learn(&mut self, rows: &[Row], left: &[usize], cap: f64) {
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
        let counted = sample
            .par_chunks(256)
            .map(|rows_of| {
                let mut counts: HashMap<Key, (u32, WordingKind)> = HashMap::new();
                for (key, kind) in rows_of.iter().flat_map(|&row| distinct(&rows[row])) {
                    counts.entry(key).or_insert((0, kind)).0 += 1;
                }
                counts
            })
            .reduce(HashMap::new, |mut all, part| {
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
        if new.is_empty() && self.held.len() == rows.len() {
            return;
        }
        new.sort_unstable();
        for (kind, key) in new {
            self.known.insert(key, self.kinds.len() as u32);
            self.kinds.push((kind, key));
        }
        self.held = rows.par_iter().map(|row| self.held_by(row)).collect();
    }

    fn held_by(&self, row: &Row) -> [Box<[u32]>; 2] {
        let Some(texts) = &row.texts else {
            return Default::default();
        };
        texts.each_ref().map(|text| {
            let mut held = Vec::new();
            wordings(text, |_, key, _, _| held.extend(self.known.get(&key)));
            held.sort_unstable();
            held.dedup();
            held.into()
        })
    }

    /// The wordings that count among the rows that are left, most significant first; those that another one
    /// explains are left out.
    fn significant(&self, rows: &[Row], left: &[usize], cap: f64) -> Vec<Found> {
        let mut counts = vec![[0_u32; 2]; self.kinds.len()];
        for &row in left {
            for (side, held) in self.held[row].iter().enumerate() {
                for &wording in held {
                    counts[wording as usize][side] += 1;
                }
            }
        }
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
        let found: Vec<Found> = found
            .into_iter()
            .filter_map(|(number, z)| {
                Some(Found {
                    kind: self.kinds[number].0,
                    chosen: counts[number][0],
                    drafts: counts[number][1],
                    rows: left.len() as u32,
                    z,
                    dropped: 0,
                    example: self.example(rows, left, number)?,
                    key: self.kinds[number].1,
                })
            })
            .collect();
        passages(rows, found)
    }

    /// Where a wording stands: in the row of lowest priority among those that hold it.
    fn example(
        &self,
        rows: &[Row],
        left: &[usize],
        number: usize,
    ) -> Option<(usize, usize, usize)> {
        let (kind, key) = self.kinds[number];
        let row = left
            .iter()
            .copied()
            .filter(|&row| self.holds(row, number as u32))
            .min_by_key(|&row| (rows[row].priority, row))?;
        let mut place = None;
        wordings(
            &rows[row].texts.as_ref()?[0],
            |found, other, start, length| {
                if (found, other) == (kind, key) && place.is_none() {
                    place = Some((row, start, length));
                }
            },
        );
        place
    }

    fn holds(&self, row: usize, number: u32) -> bool {
        self.held[row][0].binary_search(&number).is_ok()
    }

    /// The rows beyond the cap: of those that hold the wording, the ones with the highest priority.
    fn beyond(&self, rows: &[Row], left: &[usize], wording: &Found, cap: f64) -> Vec<usize> {
        let Some(&number) = self.known.get(&wording.key) else {
            return Vec::new();
        };
        let mut holders: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&row| self.holds(row, number))
            .collect();
        let total = left.len() as f64;
        // What drafts hold anyway is no collapse.
        let share = cap.max(f64::from(wording.drafts) / total);
        let others = total - holders.len() as f64;
        // So many that they are that share of what is left.
        let allowed = (share * others / (1.0 - share).max(1e-9)).floor() as usize;
        holders.sort_unstable_by_key(|&row| (rows[row].priority, row));
        holders.split_off(allowed.min(holders.len()))
    }
}

/// The wordings of a row's chosen text, each once.
fn distinct(row: &Row) -> Vec<(Key, WordingKind)> {
    let mut all = Vec::new();
    if let Some([chosen, _]) = &row.texts {
        wordings(chosen, |kind, key, _, _| all.push((key, kind)));
    }
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

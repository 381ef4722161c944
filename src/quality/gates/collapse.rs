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

use std::collections::HashMap;

use rayon::prelude::*;

use super::words::{join, mix};

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
/// Words of a phrase.
const PHRASE: std::ops::RangeInclusive<usize> = 3..=5;
/// Words at the beginning and at the end.
const EDGE: usize = 3;
/// The most wordings that are told.
const MOST: usize = 100;

/// What a wording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordingKind {
    /// The first words of a text.
    Opening,
    /// The last words of a text.
    Closing,
    /// Words anywhere.
    Phrase,
    /// An emoji.
    Emoji,
}

/// A text as numbers: one for each word or emoji.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tokens(Box<[u32]>);

const EMOJI: u32 = 1 << 31;

impl Tokens {
    /// The words and emojis of a text.
    pub fn of(text: &str) -> Self {
        let mut tokens = Vec::new();
        for (token, _) in spell(text) {
            tokens.push(token);
        }
        Self(tokens.into())
    }
}

/// The words and emojis of a text, with what they are written as.
fn spell(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let c = rest.chars().next()?;
            if is_emoji(c) {
                let (emoji, after) = rest.split_at(c.len_utf8());
                rest = after;
                return Some((EMOJI | (mix(u64::from(c)) >> 33) as u32, emoji));
            }
            let word = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '’');
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if end == 0 {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            let (word, after) = rest.split_at(end);
            rest = after;
            return Some((word_number(word), word));
        }
    })
}

fn word_number(word: &str) -> u32 {
    let lower = word.chars().flat_map(char::to_lowercase);
    let hash = lower.fold(0xcbf2_9ce4_8422_2325_u64, |hash, c| {
        let c = if c == '’' { '\'' } else { c };
        (hash ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3)
    });
    (mix(hash) >> 33) as u32
}

fn is_emoji(c: char) -> bool {
    matches!(u32::from(c),
        0x2600..=0x27bf | 0x2b05..=0x2b55 | 0x1f000..=0x1f3fa | 0x1f400..=0x1faff)
}

/// A wording as a number.
type Key = u64;

/// Calls `each` with every wording of a text, some of them more than once.
fn wordings(tokens: &Tokens, mut each: impl FnMut(WordingKind, Key, usize, usize)) {
    let tokens = &tokens.0;
    for (start, &first) in tokens.iter().enumerate() {
        if first & EMOJI != 0 {
            each(WordingKind::Emoji, join(4, u64::from(first)), start, 1);
        }
        let mut key = join(3, u64::from(first));
        let rest = tokens[start + 1..].iter().take(*PHRASE.end() - 1);
        for (&token, length) in rest.zip(2..) {
            key = join(key, u64::from(token));
            if PHRASE.contains(&length) {
                each(WordingKind::Phrase, key, start, length);
            }
        }
    }
    if tokens.len() > EDGE {
        let edge =
            |tag: u64, tokens: &[u32]| tokens.iter().fold(tag, |key, &t| join(key, u64::from(t)));
        each(WordingKind::Opening, edge(1, &tokens[..EDGE]), 0, EDGE);
        let last = tokens.len() - EDGE;
        each(WordingKind::Closing, edge(2, &tokens[last..]), last, EDGE);
    }
}

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

    /// The wordings that count among the rows that are left, most significant first; those that a longer one
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
        without_parts(rows, found)
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

/// Leaves out wordings that are a part of one before or after them which nearly as many texts hold.
fn without_parts(rows: &[Row], found: Vec<Found>) -> Vec<Found> {
    let text = |found: &Found| -> Vec<u32> {
        let (row, start, length) = found.example;
        rows[row]
            .texts
            .as_ref()
            .map_or(&[][..], |texts| &texts[0].0[start..start + length])
            .to_vec()
    };
    let texts: Vec<Vec<u32>> = found.iter().map(text).collect();
    let explained = |part: usize| {
        (0..found.len()).any(|whole| {
            let (a, b) = (&found[part], &found[whole]);
            let close = f64::from(b.chosen) >= 0.8 * f64::from(a.chosen);
            let longer = texts[whole].len() > texts[part].len()
                // Of equal words the place says more.
                || (texts[whole].len() == texts[part].len() && b.kind < a.kind);
            let inside = texts[whole]
                .windows(texts[part].len().max(1))
                .any(|window| window == texts[part]);
            whole != part && close && longer && inside
        })
    };
    let keep: Vec<bool> = (0..found.len()).map(|part| !explained(part)).collect();
    found
        .into_iter()
        .zip(keep)
        .filter_map(|(found, keep)| keep.then_some(found))
        .take(MOST)
        .collect()
}

/// The words of a text from a token on, as they are written.
pub(super) fn words_at(text: &str, start: usize, length: usize) -> String {
    let words: Vec<&str> = spell(text)
        .skip(start)
        .take(length)
        .map(|(_, word)| word)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests;

//! Rows that are there already, exactly or nearly.
//!
//! A text is the set of its runs of three words; two texts are as similar as their sets (Jaccard: what both
//! have, over what either has). Rows count as the same where their prompts and their responses are both
//! similar enough. Candidates come from MinHash and banding (Broder 1997; Leskovec, Rajaraman and Ullman,
//! *Mining of Massive Datasets*, 3.4) and are then compared.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;

use super::room::Room;
use super::words::{hash_lower, join, runs};

/// Words of a run.
const RUN: usize = 3;
/// The most runs that are kept of a text: those with the smallest hashes. Longer texts are compared by this
/// sample, whose error is at most two in a hundred (one standard deviation).
const MOST_RUNS: usize = 600;
/// Bands of a row. A pair that agrees in one of them is compared.
const BANDS: usize = 20;
/// Hashes of a band, of the prompt and of the response each. Rows whose prompts and responses are both similar
/// to 0.85 agree in some band with a probability of 0.998; where both are similar to 0.3, of 0.001.
const ROWS: usize = 4;
/// MinHash values of a text.
const HASHES: usize = BANDS * ROWS;
/// Numbers that hold four bits of each of them.
const MARKS: usize = HASHES / 16;
/// By how much the share of MinHash values that agree may fall short of the similarity: about five standard
/// deviations at 0.5 and more above, so that hardly any pair that is similar enough is passed over.
const SHORT: f64 = 0.25;
/// The most rows of one band that a row is compared with.
pub(in crate::quality) const MOST_COMPARED: usize = 256;
/// Bytes of runs that were read again and may be met once more.
const MOST_READ: usize = 16 << 20;

/// What is kept of a row to find it again.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::quality) struct Print {
    /// Hash of the whole row, case and white space aside.
    exact: u64,
    bands: [u32; BANDS],
    /// Four bits of every MinHash value, those of the prompt first.
    marks: [[u64; MARKS]; 2],
    /// Its runs; `None` where they found no room, or near duplicates are not looked for.
    sets: Option<Arc<Sets>>,
}

/// The runs of a prompt and of a response, in order of their hashes.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::quality) struct Sets {
    prompt: Box<[u32]>,
    response: Box<[u32]>,
}

impl Sets {
    /// The runs of a prompt and of a response.
    pub fn of(prompt: &str, response: &str) -> Self {
        Self {
            prompt: sample(run_set(prompt)),
            response: sample(run_set(response)),
        }
    }

    /// The smaller of the similarities of prompts and of responses.
    fn similarity(&self, other: &Self) -> f64 {
        jaccard(&self.prompt, &other.prompt).min(jaccard(&self.response, &other.response))
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + (self.prompt.len() + self.response.len()) * size_of::<u32>()
    }
}

impl Print {
    /// The print of a prompt and a response. Bands and runs are made only where near duplicates are looked for.
    pub fn new(prompt: &str, response: &str, near: bool) -> Self {
        let exact = join(join(1, squeezed(prompt)), squeezed(response));
        let mut print = Self {
            exact,
            bands: [0; BANDS],
            marks: [[0; MARKS]; 2],
            sets: None,
        };
        if near {
            let (prompt, response) = (run_set(prompt), run_set(response));
            let least = [smallest(&prompt), smallest(&response)];
            print.bands = bands(&least);
            print.marks = least.each_ref().map(marks);
            print.sets = Some(Arc::new(Sets {
                prompt: sample(prompt),
                response: sample(response),
            }));
        }
        print
    }

    /// Lets go of the runs where there is no room for them.
    pub(in crate::quality::gates) fn fit(&mut self, room: &Room) {
        if let Some(sets) = &self.sets
            && !room.take(sets.bytes())
        {
            self.sets = None;
        }
    }

    /// Its band hashes: prints that are alike agree in some of them.
    pub fn bands(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.bands.iter().copied().enumerate()
    }

    /// The smaller of the similarities of prompts and of responses, both of which have kept their runs.
    pub fn similarity(&self, other: &Self) -> f64 {
        match (&self.sets, &other.sets) {
            (Some(one), Some(other)) => one.similarity(other),
            _ => 0.0,
        }
    }

    /// Whether the rows may be that similar, by the MinHash values on which they agree. Most that share a band
    /// by chance are told apart so, without a look at their runs.
    fn may_be(&self, other: &Self, least: f64) -> bool {
        let fewest = (least - SHORT) * HASHES as f64;
        let mut both = self.marks.iter().zip(&other.marks);
        both.all(|(one, other)| f64::from(agreeing(one, other)) >= fewest)
    }
}

/// Hash of a text in lower case with single spaces.
fn squeezed(text: &str) -> u64 {
    text.split_whitespace()
        .fold(0, |all, word| join(all, hash_lower(word)))
}

/// The distinct runs of a text in order of their hashes. A text without words is a set of itself.
fn run_set(text: &str) -> Vec<u32> {
    let mut set: Vec<u32> = runs(text, RUN)
        .into_iter()
        .map(|run| (run >> 32) as u32)
        .collect();
    if set.is_empty() {
        set.push((squeezed(text) >> 32) as u32);
    }
    set.sort_unstable();
    set.dedup();
    set
}

fn sample(mut set: Vec<u32>) -> Box<[u32]> {
    set.truncate(MOST_RUNS);
    set.into()
}

/// The similarity of two sets in order, each the smallest members of a larger one where it is full.
fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    // The smallest members of the union are a fair sample of it (bottom-k sketch).
    let most = if a.len() == MOST_RUNS || b.len() == MOST_RUNS {
        MOST_RUNS
    } else {
        usize::MAX
    };
    let (mut i, mut j, mut both, mut either) = (0, 0, 0_u32, 0_usize);
    while i < a.len() && j < b.len() && either < most {
        either += 1;
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                both += 1;
                i += 1;
                j += 1;
            }
        }
    }
    let rest = (a.len() - i + b.len() - j).min(most.saturating_sub(either));
    match either + rest {
        0 => 1.0,
        either => f64::from(both) / either as f64,
    }
}

/// One number for each band: equal where all its hashes are.
fn bands([prompt, response]: &[[u32; HASHES]; 2]) -> [u32; BANDS] {
    std::array::from_fn(|band| {
        let rows = band * ROWS..(band + 1) * ROWS;
        let both = prompt[rows.clone()].iter().chain(&response[rows]);
        let all = both.fold(band as u64, |all, &value| join(all, u64::from(value)));
        (all >> 32) as u32
    })
}

/// The last four bits of each value.
fn marks(least: &[u32; HASHES]) -> [u64; MARKS] {
    let mut marks = [0; MARKS];
    for (place, value) in least.iter().enumerate() {
        marks[place / 16] |= u64::from(value & 0xf) << (4 * (place % 16));
    }
    marks
}

/// How many of the values agree in their last four bits.
fn agreeing(one: &[u64; MARKS], other: &[u64; MARKS]) -> u32 {
    let equal = |(one, other): (&u64, &u64)| {
        let differs = one ^ other;
        let differs = differs | (differs >> 1);
        let differs = differs | (differs >> 2);
        16 - (differs & 0x1111_1111_1111_1111).count_ones()
    };
    one.iter().zip(other).map(equal).sum()
}

/// For each of the hash functions the smallest hash of a set.
fn smallest(set: &[u32]) -> [u32; HASHES] {
    let mut least = [u32::MAX; HASHES];
    let functions = functions();
    for &value in set {
        for (least, (factor, summand)) in least.iter_mut().zip(&functions) {
            // A bijection of 32-bit numbers; what goes in is well mixed already.
            let hash = value.wrapping_mul(*factor).wrapping_add(*summand);
            *least = (*least).min(hash ^ (hash >> 15));
        }
    }
    least
}

const fn functions() -> [(u32, u32); HASHES] {
    let mut all = [(0, 0); HASHES];
    let mut index = 0;
    while index < all.len() {
        let seed = constant_mix(index as u64 + 1);
        all[index] = ((seed >> 32) as u32 | 1, seed as u32);
        index += 1;
    }
    all
}

const fn constant_mix(n: u64) -> u64 {
    let x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Which row an earlier one repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Repeats {
    /// Word for word, by its number.
    Exactly(usize),
    /// Nearly, by its number, with the similarity.
    Nearly(usize, f64),
}

/// Reads the runs of a row again, by its number.
pub(super) type Again<'a> = &'a mut dyn FnMut(usize) -> Option<Sets>;

/// For each row, in order, the kept one that it repeats; rows without one are kept. `near` is the similarity
/// that counts as the same.
pub(super) fn find(
    prints: &[&Print],
    exact: bool,
    near: Option<f64>,
    again: Again<'_>,
) -> Vec<Option<Repeats>> {
    let shared = match near {
        Some(_) => shared_bands(prints),
        None => vec![0; prints.len()],
    };
    let mut kept = Kept::default();
    let mut sets = AllSets {
        prints,
        again,
        read: HashMap::new(),
        order: VecDeque::new(),
        bytes: 0,
    };
    let mut found = Vec::with_capacity(prints.len());
    for (row, shared) in shared.into_iter().enumerate() {
        let repeats = kept.repeats(&mut sets, row, shared, exact, near);
        if repeats.is_none() {
            kept.keep(row, prints[row], shared);
        }
        found.push(repeats);
    }
    found
}

/// The runs of all rows: those that were kept, and those that were read again lately.
struct AllSets<'p, 'a> {
    prints: &'p [&'p Print],
    again: Again<'a>,
    read: HashMap<usize, Arc<Sets>>,
    /// Rows in the order in which they were read.
    order: VecDeque<usize>,
    bytes: usize,
}

impl AllSets<'_, '_> {
    fn get(&mut self, row: usize) -> Option<Arc<Sets>> {
        let there = self.prints[row].sets.as_ref();
        if let Some(sets) = there.or_else(|| self.read.get(&row)) {
            return Some(Arc::clone(sets));
        }
        let sets = Arc::new((self.again)(row)?);
        self.bytes += sets.bytes();
        self.order.push_back(row);
        self.read.insert(row, Arc::clone(&sets));
        while self.bytes > MOST_READ
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.read.remove(&oldest);
            self.bytes -= gone.map_or(0, |sets| sets.bytes());
        }
        Some(sets)
    }
}

/// Pairs of rows that are nearly the same, enough of them that all such rows hang together: fewer than there are rows.
pub(in crate::quality) fn pairs(prints: &[&Print], least: f64) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    // Rows that hang together already need no further pair.
    let mut parent: Vec<usize> = (0..prints.len()).collect();
    for band in 0..BANDS {
        let mut values: Vec<(u32, usize)> = (0..)
            .zip(prints)
            .map(|(row, print)| (print.bands[band], row))
            .collect();
        values.sort_unstable();
        for group in values.chunk_by(|a, b| a.0 == b.0) {
            for (place, (_, row)) in group.iter().enumerate() {
                for (_, other) in group[..place].iter().rev().take(MOST_COMPARED) {
                    let (one, two) = (root(&mut parent, *row), root(&mut parent, *other));
                    if one != two && prints[*row].similarity(prints[*other]) >= least {
                        parent[one.max(two)] = one.min(two);
                        found.push((*other, *row));
                    }
                }
            }
        }
    }
    found.sort_unstable();
    found
}

/// The row that stands for all that hang together with this one.
fn root(parent: &mut [usize], mut row: usize) -> usize {
    while parent[row] != row {
        parent[row] = parent[parent[row]];
        row = parent[row];
    }
    row
}

/// For each row the bands that it has in common with another, as bits. Most rows have none, and only these need
/// to be looked up one after the other.
fn shared_bands(prints: &[&Print]) -> Vec<u32> {
    let each_band: Vec<Vec<u32>> = (0..BANDS)
        .into_par_iter()
        .map(|band| {
            let mut values: Vec<(u32, u32)> = (0..)
                .zip(prints)
                .map(|(row, print)| (print.bands[band], row))
                .collect();
            values.sort_unstable();
            let groups = values.chunk_by(|a, b| a.0 == b.0);
            groups
                .filter(|group| group.len() > 1)
                .flatten()
                .map(|(_, row)| *row)
                .collect()
        })
        .collect();
    let mut shared = vec![0; prints.len()];
    for (band, rows) in each_band.iter().enumerate() {
        for row in rows {
            shared[*row as usize] |= 1 << band;
        }
    }
    shared
}

/// The rows that were kept so far.
#[derive(Debug, Default)]
struct Kept {
    exact: HashMap<u64, usize>,
    bands: HashMap<(usize, u32), Vec<usize>>,
}

impl Kept {
    fn keep(&mut self, row: usize, print: &Print, shared: u32) {
        self.exact.entry(print.exact).or_insert(row);
        for band in bits(shared) {
            let there = self.bands.entry((band, print.bands[band])).or_default();
            if there.len() < MOST_COMPARED {
                there.push(row);
            }
        }
    }

    fn repeats(
        &self,
        sets: &mut AllSets<'_, '_>,
        row: usize,
        shared: u32,
        exact: bool,
        near: Option<f64>,
    ) -> Option<Repeats> {
        let print = sets.prints[row];
        if exact && let Some(&row) = self.exact.get(&print.exact) {
            return Some(Repeats::Exactly(row));
        }
        let least = near?;
        let mut candidates: Vec<usize> = bits(shared)
            .filter_map(|band| self.bands.get(&(band, print.bands[band])))
            .flatten()
            .copied()
            .filter(|&other| print.may_be(sets.prints[other], least))
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        candidates.into_iter().find_map(|other| {
            let own = sets.get(row)?;
            let similarity = own.similarity(&*sets.get(other)?);
            (similarity >= least).then_some(Repeats::Nearly(other, similarity))
        })
    }
}

fn bits(set: u32) -> impl Iterator<Item = usize> {
    (0..BANDS).filter(move |band| set & (1 << band) != 0)
}

#[cfg(test)]
mod tests;

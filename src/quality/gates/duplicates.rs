//! Rows that are there already, exactly or nearly.
//!
//! A text is the set of its runs of three words; two texts are as similar as their sets (Jaccard: what both
//! have, over what either has). Rows count as the same where their prompts and their responses are both
//! similar enough. Candidates come from MinHash and banding (Broder 1997; Leskovec, Rajaraman and Ullman,
//! *Mining of Massive Datasets*, 3.4) and are then compared.

mod search;

use std::sync::Arc;

use super::room::Room;
use super::words::{hash_lower, join, runs};

pub(in crate::quality) use search::{BAND_BITS, Prints, add_bands, pairs};
pub(super) use search::{Repeats, find};

/// Words of a run.
const RUN: usize = 3;
/// The most runs that are kept of a text: those with the smallest hashes. Longer texts are compared by this
/// sample, whose error is at most two in a hundred (one standard deviation).
const MOST_RUNS: usize = 600;
/// Bands of a row. A pair that agrees in one of them is compared.
const BANDS: usize = 20;
/// The most hashes of a band, of the prompt and of the response each. Rows whose prompts and responses are both similar
/// to 0.85 agree in some band with a probability of 0.998; where both are similar to 0.3, of 0.001.
const ROWS: usize = 4;
/// The least probability with which rows that are just similar enough agree in some band.
const FOUND: f64 = 0.97;
/// MinHash values of a text.
const HASHES: usize = BANDS * ROWS;
/// Numbers that hold four bits of each of them.
const MARKS: usize = HASHES / 16;
/// By how much the share of MinHash values that agree may fall short of the similarity: about five standard
/// deviations at 0.5 and more above, so that hardly any pair that is similar enough is passed over.
const SHORT: f64 = 0.25;
/// The most rows of one band that a row is compared with.
pub(in crate::quality) const MOST_COMPARED: usize = 256;

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
    pub fn similarity(&self, other: &Self) -> f64 {
        jaccard(&self.prompt, &other.prompt).min(jaccard(&self.response, &other.response))
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = self.prompt.len() as u32;
        let numbers = [&self.prompt[..], &self.response[..]].concat();
        let numbers = std::iter::once(count).chain(numbers);
        numbers.flat_map(u32::to_le_bytes).collect()
    }

    /// From bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, _) = bytes.as_chunks();
        let mut numbers = numbers.iter().copied().map(u32::from_le_bytes);
        let count = numbers.next()?;
        let prompt = numbers.by_ref().take(count as usize).collect();
        Some(Self {
            prompt,
            response: numbers.collect(),
        })
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + (self.prompt.len() + self.response.len()) * size_of::<u32>()
    }
}

impl Print {
    /// The print of a prompt and a response. Bands and runs are made only where near duplicates are looked for, from
    /// the similarity `near` on.
    pub fn new(prompt: &str, response: &str, near: Option<f64>) -> Self {
        let exact = join(join(1, squeezed(prompt)), squeezed(response));
        let mut print = Self {
            exact,
            bands: [0; BANDS],
            marks: [[0; MARKS]; 2],
            sets: None,
        };
        if let Some(near) = near {
            let (prompt, response) = (run_set(prompt), run_set(response));
            let least = [smallest(&prompt), smallest(&response)];
            print.bands = bands(&least, hashes(near));
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
    pub fn bands(&self) -> [u32; BANDS] {
        self.bands
    }

    /// The runs that it has kept.
    pub fn sets(&self) -> Option<&Sets> {
        self.sets.as_deref()
    }

    /// Hands over the runs that it has kept.
    pub fn take_sets(&mut self) -> Option<Arc<Sets>> {
        self.sets.take()
    }

    /// Everything but the runs, as bytes of one length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.exact.to_le_bytes().to_vec();
        bytes.extend(self.bands.iter().flat_map(|band| band.to_le_bytes()));
        let marks = self.marks.iter().flatten();
        bytes.extend(marks.flat_map(|mark| mark.to_le_bytes()));
        bytes
    }

    /// The hash of the whole row, in the bytes of a print.
    fn exact_in(bytes: &[u8]) -> u64 {
        u64::from_le_bytes(number(bytes, 0))
    }

    /// One of its bands.
    fn band_in(bytes: &[u8], band: usize) -> u32 {
        u32::from_le_bytes(number(bytes, size_of::<u64>() + band * size_of::<u32>()))
    }

    /// All of them.
    pub fn bands_in(bytes: &[u8]) -> [u32; BANDS] {
        std::array::from_fn(|band| Self::band_in(bytes, band))
    }

    /// Its bits of MinHash values.
    fn marks_in(bytes: &[u8]) -> [[u64; MARKS]; 2] {
        let begin = size_of::<u64>() + BANDS * size_of::<u32>();
        let mark =
            |place: usize| u64::from_le_bytes(number(bytes, begin + place * size_of::<u64>()));
        [0, MARKS].map(|first| std::array::from_fn(|place| mark(first + place)))
    }
}

/// The bytes of the number at a place; zeros where there is none.
fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let there = bytes.get(at..).and_then(<[u8]>::first_chunk);
    there.copied().unwrap_or([0; N])
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

/// How many hashes a band has where rows are looked for from this similarity on: the more, the fewer are compared in
/// vain, and the more are missed that are just similar enough.
fn hashes(near: f64) -> usize {
    let found = |hashes: usize| {
        let agrees = near.powi(2 * hashes as i32);
        1.0 - (1.0 - agrees).powi(BANDS as i32)
    };
    let mut most_first = (1..=ROWS).rev();
    most_first
        .find(|&hashes| found(hashes) >= FOUND)
        .unwrap_or(1)
}

/// One number for each band: equal where so many of its hashes are.
fn bands([prompt, response]: &[[u32; HASHES]; 2], hashes: usize) -> [u32; BANDS] {
    std::array::from_fn(|band| {
        let rows = band * ROWS..band * ROWS + hashes;
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

#[cfg(test)]
mod tests;

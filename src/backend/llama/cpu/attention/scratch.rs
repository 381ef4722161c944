//! What a thread works in: rows of queries, what they have come to, and the tile that is read.

use std::arch::x86_64::*;
use std::f32::consts::LOG2_E;
use std::ops::Range;

use super::super::Kernel;
use super::seen::Keys;
use super::{ALIGNMENT, MAX_ROWS, kernel};

/// Keys that are read together.
pub const TILE: usize = 64;

/// What the numbers of a key and of a value are a multiple of.
pub const UNIT: usize = 16;

/// Numbers of keys and values that are unpacked at a time: two such parts fit a first-level cache.
pub const PART: usize = 64;

/// A head of keys and values in a stream.
#[derive(Clone, Copy)]
pub struct Head {
    /// The first cell's key.
    pub keys: *const u8,
    /// The first cell's value.
    pub values: *const u8,
    /// Bytes from one cell to the next.
    pub key_bytes: usize,
    /// Bytes from one cell to the next.
    pub value_bytes: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl Head {
    fn key(self, cell: u32) -> *const u16 {
        self.keys
            .wrapping_add(cell as usize * self.key_bytes)
            .cast()
    }

    fn value(self, cell: u32) -> *const u16 {
        self.values
            .wrapping_add(cell as usize * self.value_bytes)
            .cast()
    }

    /// Asks for keys and values of so many numbers, so that they arrive while something else is computed: cells may lie
    /// anywhere, and a step reads each once.
    pub fn ask_for(self, cells: &[u32], width: usize, value_width: usize) {
        for &cell in cells {
            ask(self.key(cell), width);
            ask(self.value(cell), value_width);
        }
    }
}

/// Asks for so many halves.
fn ask(at: *const u16, numbers: usize) {
    const LINE: usize = 64;
    for line in 0..(numbers * size_of::<u16>()).div_ceil(LINE) {
        // SAFETY: nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast::<i8>().wrapping_add(line * LINE)) };
    }
}

/// A token of a head of queries.
#[derive(Clone, Copy)]
pub struct Row {
    /// Which of the tokens that are computed together.
    pub token: usize,
    /// Its query.
    pub query: *const f32,
    /// Where its result goes.
    pub output: *mut f32,
}

/// What a row has come to.
#[derive(Clone, Copy)]
pub struct Progress {
    /// Which of the tokens that are computed together.
    pub token: usize,
    /// Where the result goes.
    pub output: *mut f32,
    /// The highest score so far.
    pub highest: f32,
    /// The sum of weights so far, relative to it.
    pub weight: f32,
}

impl Progress {
    const NONE: Self = Self {
        token: 0,
        output: std::ptr::null_mut(),
        highest: f32::NEG_INFINITY,
        weight: 0.0,
    };
}

/// What a thread works in.
pub struct Scratch<'a> {
    /// Numbers of a key.
    pub width: usize,
    /// Numbers of a value.
    pub value_width: usize,
    /// Queries, scaled so that scores are powers of two.
    pub queries: &'a mut [f32],
    /// Scores of a tile, and then weights.
    pub scores: &'a mut [f32],
    /// Sums of values so far.
    pub totals: &'a mut [f32],
    /// The tile's keys: a number of each at a time.
    pub keys: &'a mut [f32],
    /// The tile's values, one after the other.
    pub values: &'a mut [f32],
    /// The rows.
    pub rows: [Progress; MAX_ROWS],
    /// How many of them there are.
    pub count: usize,
}

impl Scratch<'_> {
    /// How many numbers each part has.
    fn parts(width: usize, value_width: usize) -> [usize; 5] {
        [
            MAX_ROWS * width,
            MAX_ROWS * TILE,
            MAX_ROWS * value_width,
            width.min(PART) * TILE,
            TILE * value_width.min(PART),
        ]
    }

    /// Bytes for keys and values of so many numbers.
    pub fn size(width: usize, value_width: usize) -> usize {
        let numbers: usize = Self::parts(width, value_width).iter().sum();
        (numbers * size_of::<f32>()).next_multiple_of(ALIGNMENT)
    }

    /// In memory of [`size`](Self::size) bytes.
    ///
    /// # Safety
    ///
    /// The memory is aligned to a vector, and nobody else's as long as this lives.
    pub unsafe fn new(memory: *mut u8, width: usize, value_width: usize) -> Self {
        let mut next = memory.cast::<f32>();
        // SAFETY: the parts are as long as `size` says; what they hold is some number or other.
        let mut part = |numbers: usize| unsafe {
            let part = next;
            next = part.add(numbers);
            std::slice::from_raw_parts_mut(part, numbers)
        };
        let [queries, scores, totals, keys, values] =
            Self::parts(width, value_width).map(&mut part);
        Self {
            width,
            value_width,
            queries,
            scores,
            totals,
            keys,
            values,
            rows: [Progress::NONE; MAX_ROWS],
            count: 0,
        }
    }

    /// Computes rows, at most 64, whose tokens see `keys` of a head.
    ///
    /// # Safety
    ///
    /// The processor runs `kernel`. Queries can be read, keys and values of the cells too, and outputs be written.
    pub unsafe fn attend(
        &mut self,
        kernel: Kernel,
        head: Head,
        keys: &Keys<'_>,
        rows: impl Iterator<Item = Row>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            self.begin(head.scale * LOG2_E, rows);
            for (tile, cells) in keys.cells.chunks(TILE).enumerate() {
                let next = &keys.cells[((tile + 1) * TILE).min(keys.cells.len())..];
                let next = &next[..next.len().min(TILE)];
                kernel::add_tile(kernel, self, head, keys, tile, [cells, next]);
            }
            self.finish();
        }
    }

    /// # Safety
    ///
    /// As for [`attend`](Self::attend).
    unsafe fn begin(&mut self, scale: f32, rows: impl Iterator<Item = Row>) {
        self.count = 0;
        for (row, scaled) in rows.zip(self.queries.chunks_exact_mut(self.width)) {
            for (index, scaled) in scaled.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *scaled = scale * unsafe { row.query.add(index).read_unaligned() };
            }
            self.rows[self.count] = Progress {
                token: row.token,
                output: row.output,
                ..Progress::NONE
            };
            self.count += 1;
        }
        self.totals[..self.count * self.value_width].fill(0.0);
    }

    /// Writes what the rows have come to; zeros where a token sees nothing.
    ///
    /// # Safety
    ///
    /// As for [`attend`](Self::attend).
    unsafe fn finish(&self) {
        for (row, totals) in self.rows[..self.count]
            .iter()
            .zip(self.totals.chunks_exact(self.value_width))
        {
            let inverse = match row.weight {
                0.0 => 0.0,
                weight => 1.0 / weight,
            };
            for (index, total) in totals.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { row.output.add(index).write_unaligned(total * inverse) };
            }
        }
    }

    /// Reads a part of the keys of a tile. Places behind the last, up to the next unit, get the last again.
    ///
    /// # Safety
    ///
    /// The processor has AVX2 and F16C, and there are such cells.
    #[target_feature(enable = "avx2,f16c")]
    pub unsafe fn read_keys(&mut self, head: Head, [cells, next]: [&[u32]; 2], part: Range<usize>) {
        let last = cells.len() - 1;
        for first in (0..cells.len().next_multiple_of(UNIT)).step_by(8) {
            let rows: [*const u16; 8] =
                std::array::from_fn(|row| head.key(cells[(first + row).min(last)]));
            for &cell in next.iter().skip(first).take(8) {
                ask(head.key(cell).wrapping_add(part.start), part.len());
            }
            for number in part.clone().step_by(8) {
                // SAFETY: a key has `width` numbers, a multiple of eight; there is a tile of places for each.
                unsafe {
                    let eights = rows.map(|row| halves(row.add(number)));
                    let to = self
                        .keys
                        .as_mut_ptr()
                        .add((number - part.start) * TILE + first);
                    for (index, turned) in turn(eights).into_iter().enumerate() {
                        _mm256_storeu_ps(to.add(index * TILE), turned);
                    }
                }
            }
        }
    }

    /// Reads a part of the values of a tile, and tells whether all are numbers.
    ///
    /// # Safety
    ///
    /// As for [`read_keys`](Self::read_keys).
    #[target_feature(enable = "avx2,f16c")]
    pub unsafe fn read_values(
        &mut self,
        head: Head,
        [cells, next]: [&[u32]; 2],
        part: Range<usize>,
    ) -> bool {
        // Halves whose exponent is all ones are infinite, or none.
        let exponent = _mm_set1_epi16(0x7c00);
        let mut odd = _mm_setzero_si128();
        for (index, (cell, to)) in cells
            .iter()
            .zip(self.values.chunks_exact_mut(part.len()))
            .enumerate()
        {
            if let Some(&cell) = next.get(index) {
                ask(head.value(cell).wrapping_add(part.start), part.len());
            }
            let from = head.value(*cell).wrapping_add(part.start);
            for number in (0..part.len()).step_by(8) {
                // SAFETY: a value has `value_width` numbers, a multiple of eight.
                unsafe {
                    let to = to.as_mut_ptr().add(number);
                    let eight = _mm_loadu_si128(from.add(number).cast());
                    let exponents = _mm_and_si128(eight, exponent);
                    odd = _mm_or_si128(odd, _mm_cmpeq_epi16(exponents, exponent));
                    _mm256_storeu_ps(to, _mm256_cvtph_ps(eight));
                }
            }
        }
        _mm_movemask_epi8(odd) == 0
    }
}

impl Scratch<'_> {
    /// Adds to a row only what it sees of a tile's values, for where they are not all numbers: the weight of what it does
    /// not see is zero, and zero times what is no number is none.
    pub fn add_seen(&mut self, row: usize, seen: u64, part: Range<usize>) {
        let weights = &self.scores[row * TILE..][..TILE];
        let totals = &mut self.totals[row * self.value_width..][part.clone()];
        for (cell, weight) in weights
            .iter()
            .enumerate()
            .filter(|(cell, _)| seen >> cell & 1 != 0)
        {
            let values = &self.values[cell * part.len()..][..part.len()];
            for (total, value) in totals.iter_mut().zip(values) {
                *total = weight.mul_add(*value, *total);
            }
        }
    }
}

/// Eight halves as numbers.
///
/// # Safety
///
/// The processor has AVX2 and F16C, and 16 bytes can be read.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn halves(at: *const u16) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
}

/// Number `i` of each of eight rows in its `i`th place.
#[inline]
#[target_feature(enable = "avx2")]
fn turn(rows: [__m256; 8]) -> [__m256; 8] {
    // Pairs of rows, then fours, in halves of vectors; the last step joins halves.
    let pair = |row: usize| {
        [
            _mm256_unpacklo_ps(rows[row], rows[row + 1]),
            _mm256_unpackhi_ps(rows[row], rows[row + 1]),
        ]
    };
    let four = |row: usize| {
        let ([a, b], [c, d]) = (pair(row), pair(row + 2));
        [
            _mm256_shuffle_ps::<0b01_00_01_00>(a, c),
            _mm256_shuffle_ps::<0b11_10_11_10>(a, c),
            _mm256_shuffle_ps::<0b01_00_01_00>(b, d),
            _mm256_shuffle_ps::<0b11_10_11_10>(b, d),
        ]
    };
    let (first, second) = (four(0), four(4));
    std::array::from_fn(|number| {
        let (a, b) = (first[number % 4], second[number % 4]);
        match number < 4 {
            true => _mm256_permute2f128_ps::<0x20>(a, b),
            false => _mm256_permute2f128_ps::<0x31>(a, b),
        }
    })
}

//! Rows of queries against tiles of keys and values.
//!
//! A row's numbers are added up in the order of the cells that it sees, whatever else is computed beside it.

use std::arch::x86_64::*;
use std::f32::consts::LOG2_E;

use super::super::Kernel;
use super::seen::Keys;
use super::{ALIGNMENT, MAX_ROWS, avx2, avx512};

/// Keys that are read together.
pub const TILE: usize = 64;

/// What the numbers of a key and of a value are a multiple of.
pub const UNIT: usize = 16;

/// Rows that are multiplied together.
const TOGETHER: usize = 4;

/// The coefficients of `2^x` around zero, the highest first: its Taylor series, `ln(2)^k / k!`. Within half a step of
/// zero it is right to the precision of the numbers.
const POWER: [f32; 7] = [
    1.540_353_e-4,
    1.333_355_8e-3,
    9.618_129e-3,
    5.550_411e-2,
    0.240_226_5,
    std::f32::consts::LN_2,
    1.0,
];

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
}

impl Head {
    /// Asks for keys and values of so many numbers, so that they arrive while something else is computed: cells may lie
    /// anywhere, and a step reads each once.
    pub fn ask_for(self, cells: &[u32], width: usize, value_width: usize) {
        const LINE: usize = 64;
        let ask = |at: *const u16, numbers: usize| {
            for line in 0..(numbers * size_of::<u16>()).div_ceil(LINE) {
                // SAFETY: nothing is read.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast::<i8>().wrapping_add(line * LINE)) };
            }
        };
        for &cell in cells {
            ask(self.key(cell), width);
            ask(self.value(cell), value_width);
        }
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
struct Progress {
    token: usize,
    output: *mut f32,
    /// The highest score so far.
    highest: f32,
    /// The sum of weights so far, relative to it.
    weight: f32,
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
    width: usize,
    value_width: usize,
    /// Queries, scaled so that scores are powers of two.
    queries: &'a mut [f32],
    /// Scores of a tile, and then weights.
    scores: &'a mut [f32],
    /// Sums of values so far.
    totals: &'a mut [f32],
    /// The tile's keys: a number of each at a time.
    keys: &'a mut [f32],
    /// The tile's values, one after the other.
    values: &'a mut [f32],
    rows: [Progress; MAX_ROWS],
    /// How many rows there are.
    count: usize,
}

impl Scratch<'_> {
    /// How many numbers each part has.
    fn parts(width: usize, value_width: usize) -> [usize; 5] {
        [
            MAX_ROWS * width,
            MAX_ROWS * TILE,
            MAX_ROWS * value_width,
            width * TILE,
            TILE * value_width,
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
                head.ask_for(&next[..next.len().min(TILE)], self.width, self.value_width);
                match kernel {
                    Kernel::Avx512Vnni => avx512_tile(self, head, keys, tile, cells),
                    Kernel::Avx2 => avx2_tile(self, head, keys, tile, cells),
                }
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

    /// Reads the keys of a tile. Places behind the last, up to the next unit, get the last again.
    ///
    /// # Safety
    ///
    /// The processor has AVX2 and F16C, and there are such cells.
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn read_keys(&mut self, head: Head, cells: &[u32]) {
        let last = cells.len() - 1;
        for first in (0..cells.len().next_multiple_of(UNIT)).step_by(8) {
            let rows: [*const u16; 8] =
                std::array::from_fn(|row| head.key(cells[(first + row).min(last)]));
            for number in (0..self.width).step_by(8) {
                // SAFETY: a key has `width` numbers, a multiple of eight; there is a tile of places for each.
                unsafe {
                    let eights = rows.map(|row| halves(row.add(number)));
                    let to = self.keys.as_mut_ptr().add(number * TILE + first);
                    for (index, turned) in turn(eights).into_iter().enumerate() {
                        _mm256_storeu_ps(to.add(index * TILE), turned);
                    }
                }
            }
        }
    }

    /// Reads the values of a tile.
    ///
    /// # Safety
    ///
    /// As for [`read_keys`](Self::read_keys).
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn read_values(&mut self, head: Head, cells: &[u32]) {
        for (cell, to) in cells
            .iter()
            .zip(self.values.chunks_exact_mut(self.value_width))
        {
            let from = head.value(*cell);
            for number in (0..self.value_width).step_by(8) {
                // SAFETY: a value has `value_width` numbers, a multiple of eight.
                unsafe {
                    let to = to.as_mut_ptr().add(number);
                    _mm256_storeu_ps(to, halves(from.add(number)));
                }
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

/// Writes the functions of one instruction set, whose steps are in the module `$set`.
macro_rules! attention {
    ($set:ident, $features:tt, $tile:ident, $weigh:ident, $power:ident, $rows:ident, $all:ident, $some:ident) => {
        /// Adds a tile to the rows that see something of it.
        ///
        /// # Safety
        ///
        /// As for [`Scratch::attend`]; `cells` are those of the tile.
        #[target_feature(enable = $features)]
        unsafe fn $tile(
            scratch: &mut Scratch<'_>,
            head: Head,
            keys: &Keys<'_>,
            tile: usize,
            cells: &[u32],
        ) {
            let mut active = [0_usize; MAX_ROWS];
            let mut count = 0;
            for (index, row) in scratch.rows[..scratch.count].iter().enumerate() {
                active[count] = index;
                count += usize::from(keys.seen(row.token, tile) != 0);
            }
            let active = &active[..count];
            let columns = cells.len().next_multiple_of(UNIT);
            // SAFETY: the parts of the scratch are as long as their shapes say; the rest is the caller's promise.
            unsafe {
                scratch.read_keys(head, cells);
                let queries = scratch.queries.as_ptr();
                let scores = scratch.scores.as_mut_ptr();
                for some in active.chunks(TOGETHER) {
                    let from = |i: usize| queries.add(some[i] * scratch.width);
                    let to = |i: usize| scores.add(some[i] * TILE);
                    let shape = [scratch.width, columns, TILE];
                    $rows::<false>(some.len(), from, shape, scratch.keys.as_ptr(), to);
                }
                let totals = scratch.totals.as_mut_ptr();
                for &index in active {
                    let row = &mut scratch.rows[index];
                    let seen = keys.seen(row.token, tile);
                    let factor = $weigh(scores.add(index * TILE), columns, seen, row);
                    if factor != 1.0 {
                        let first = totals.add(index * scratch.value_width);
                        for number in 0..scratch.value_width {
                            *first.add(number) *= factor;
                        }
                    }
                }
                scratch.read_values(head, cells);
                let scores = scratch.scores.as_ptr();
                for some in active.chunks(TOGETHER) {
                    let from = |i: usize| scores.add(some[i] * TILE);
                    let to = |i: usize| totals.add(some[i] * scratch.value_width);
                    let shape = [cells.len(), scratch.value_width, scratch.value_width];
                    $rows::<true>(some.len(), from, shape, scratch.values.as_ptr(), to);
                }
            }
        }

        /// Turns scores into weights, relative to the row's highest score, and adds them up. Gives what the row's sums so
        /// far are to be multiplied by.
        ///
        /// # Safety
        ///
        /// The processor has the features, and there are `columns` scores, a multiple of 16.
        #[target_feature(enable = $features)]
        unsafe fn $weigh(scores: *mut f32, columns: usize, seen: u64, row: &mut Progress) -> f32 {
            // SAFETY: scores are read and written up to the last.
            unsafe {
                let mut highest = $set::splat(f32::NEG_INFINITY);
                for at in (0..columns).step_by($set::LANES) {
                    let scores = scores.add(at);
                    let seen = $set::seen($set::load(scores), seen >> at);
                    $set::store(seen, scores);
                    highest = $set::larger(highest, seen);
                }
                let highest = row.highest.max($set::largest(highest));
                let factor = match highest > row.highest {
                    true => (row.highest - highest).exp2(),
                    false => 1.0,
                };
                let mut weight = $set::zero();
                for at in (0..columns).step_by($set::LANES) {
                    let scores = scores.add(at);
                    let own = $power($set::minus($set::load(scores), $set::splat(highest)));
                    $set::store(own, scores);
                    weight = $set::plus(weight, own);
                }
                row.weight = row.weight * factor + $set::sum(weight);
                row.highest = highest;
                factor
            }
        }

        /// Two to the power of numbers of at most zero. What is no number stays none.
        #[inline]
        #[target_feature(enable = $features)]
        fn $power(numbers: $set::Numbers) -> $set::Numbers {
            let numbers = $set::larger($set::splat($set::LOWEST), numbers);
            let whole = $set::nearest(numbers);
            let rest = $set::minus(numbers, whole);
            let mut power = $set::splat(POWER[0]);
            for coefficient in &POWER[1..] {
                power = $set::multiply_add(power, rest, $set::splat(*coefficient));
            }
            $set::power(power, whole)
        }

        /// Multiplies rows, at most four, of `from` with a matrix: its `shape` is how many rows it has, how many columns
        /// are computed, and how many numbers lie from one of its rows to the next. Adds to what `to` holds if `ADD`.
        ///
        /// # Safety
        ///
        /// The processor has the features, the shape is right, and its columns are a multiple of 16.
        #[target_feature(enable = $features)]
        unsafe fn $rows<const ADD: bool>(
            count: usize,
            from: impl Fn(usize) -> *const f32,
            shape: [usize; 3],
            matrix: *const f32,
            to: impl Fn(usize) -> *mut f32,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                match count {
                    1 => $all::<ADD, 1>([from(0)], shape, matrix, [to(0)]),
                    2 => $all::<ADD, 2>([from(0), from(1)], shape, matrix, [to(0), to(1)]),
                    3 => $all::<ADD, 3>(
                        std::array::from_fn(from),
                        shape,
                        matrix,
                        std::array::from_fn(to),
                    ),
                    _ => $all::<ADD, 4>(
                        std::array::from_fn(from),
                        shape,
                        matrix,
                        std::array::from_fn(to),
                    ),
                }
            }
        }

        /// # Safety
        ///
        /// As for the function above.
        #[target_feature(enable = $features)]
        unsafe fn $all<const ADD: bool, const R: usize>(
            from: [*const f32; R],
            [depth, columns, stride]: [usize; 3],
            matrix: *const f32,
            to: [*mut f32; R],
        ) {
            const WIDE: usize = $set::WIDE * $set::LANES;
            let wide = columns / WIDE * WIDE;
            // SAFETY: the caller's promise.
            unsafe {
                for at in (0..wide).step_by(WIDE) {
                    let to = to.map(|to| to.add(at));
                    $some::<ADD, R, { $set::WIDE }>(from, [depth, stride], matrix.add(at), to);
                }
                for at in (wide..columns).step_by($set::LANES) {
                    let to = to.map(|to| to.add(at));
                    $some::<ADD, R, 1>(from, [depth, stride], matrix.add(at), to);
                }
            }
        }

        /// `V` vectors of columns.
        ///
        /// # Safety
        ///
        /// As for the function above.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $some<const ADD: bool, const R: usize, const V: usize>(
            from: [*const f32; R],
            [depth, stride]: [usize; 2],
            matrix: *const f32,
            to: [*mut f32; R],
        ) {
            let mut sums = [[$set::zero(); V]; R];
            // SAFETY: the caller's promise.
            unsafe {
                if ADD {
                    for (sums, to) in sums.iter_mut().zip(to) {
                        for (v, sum) in sums.iter_mut().enumerate() {
                            *sum = $set::load(to.add(v * $set::LANES));
                        }
                    }
                }
                for index in 0..depth {
                    let row = matrix.add(index * stride);
                    let columns: [$set::Numbers; V] =
                        std::array::from_fn(|v| $set::load(row.add(v * $set::LANES)));
                    for (sums, from) in sums.iter_mut().zip(from) {
                        let factor = $set::splat(*from.add(index));
                        for (sum, column) in sums.iter_mut().zip(columns) {
                            *sum = $set::multiply_add(factor, column, *sum);
                        }
                    }
                }
                for (sums, to) in sums.into_iter().zip(to) {
                    for (v, sum) in sums.into_iter().enumerate() {
                        $set::store(sum, to.add(v * $set::LANES));
                    }
                }
            }
        }
    };
}

attention!(
    avx512,
    "avx512f,avx512bw,avx2,fma,f16c",
    avx512_tile,
    avx512_weigh,
    avx512_power,
    avx512_rows,
    avx512_rows_all,
    avx512_rows_some
);
attention!(
    avx2,
    "avx2,fma,f16c",
    avx2_tile,
    avx2_weigh,
    avx2_power,
    avx2_rows,
    avx2_rows_all,
    avx2_rows_some
);

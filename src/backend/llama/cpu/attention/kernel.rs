//! Products of rows with tiles, and the softmax of their scores, for each instruction set.
//!
//! Values are added up in the order of cells, and weights by their places in tiles. Tiles are those of all rows together,
//! so that a row's last bits are its own only where it sees the beginning of what others see.

use super::super::Kernel;
use super::scratch::{Head, PART, Progress, Scratch, TILE, UNIT};
use super::seen::Keys;
use super::{MAX_ROWS, avx2, avx512};

/// Rows that are multiplied together.
const TOGETHER: usize = 4;

/// The coefficients of `2^x` around zero, the highest first: its Taylor series, `ln(2)^k / k!`. Within half a step of
/// zero it is right to two units in the last place.
const POWER: [f32; 7] = [
    1.540_353_e-4,
    1.333_355_8e-3,
    9.618_129e-3,
    5.550_411e-2,
    0.240_226_5,
    std::f32::consts::LN_2,
    1.0,
];

/// Adds a tile to the rows of `scratch` that see something of it: its cells, and those of the next, which are asked for.
///
/// # Safety
///
/// As for [`Scratch::attend`]; the first cells are those of the tile.
pub unsafe fn add_tile(
    kernel: Kernel,
    scratch: &mut Scratch<'_>,
    head: Head,
    keys: &Keys<'_>,
    tile: usize,
    cells: [&[u32]; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match kernel {
            Kernel::Avx512Vnni => avx512_tile(scratch, head, keys, tile, cells),
            Kernel::Avx2 => avx2_tile(scratch, head, keys, tile, cells),
        }
    }
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
            [cells, next]: [&[u32]; 2],
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
                let queries = scratch.queries.as_ptr();
                let scores = scratch.scores.as_mut_ptr();
                for begin in (0..scratch.width).step_by(PART) {
                    let part = begin..scratch.width.min(begin + PART);
                    scratch.read_keys(head, [cells, next], part.clone());
                    for some in active.chunks(TOGETHER) {
                        let from = |i: usize| queries.add(some[i] * scratch.width + begin);
                        let to = |i: usize| scores.add(some[i] * TILE);
                        let (shape, matrix) = ([part.len(), columns, TILE], scratch.keys.as_ptr());
                        match begin {
                            0 => $rows::<false>(some.len(), from, shape, matrix, to),
                            _ => $rows::<true>(some.len(), from, shape, matrix, to),
                        }
                    }
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
                let scores = scratch.scores.as_ptr();
                for begin in (0..scratch.value_width).step_by(PART) {
                    let part = begin..scratch.value_width.min(begin + PART);
                    if !scratch.read_values(head, [cells, next], part.clone()) {
                        for &index in active {
                            let seen = keys.seen(scratch.rows[index].token, tile);
                            scratch.add_seen(index, seen, part.clone());
                        }
                        continue;
                    }
                    for some in active.chunks(TOGETHER) {
                        let from = |i: usize| scores.add(some[i] * TILE);
                        let to = |i: usize| totals.add(some[i] * scratch.value_width + begin);
                        let shape = [cells.len(), part.len(), part.len()];
                        $rows::<true>(some.len(), from, shape, scratch.values.as_ptr(), to);
                    }
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

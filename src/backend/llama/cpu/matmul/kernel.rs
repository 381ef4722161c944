//! Products of a tile of weights with quantised activations, for the processors that the field has: of a panel with
//! any number of columns, or of rows as they lie in the file with a few.
//!
//! Every number of a product is added up in the same order however many columns there are, so that a token's
//! result does not depend on what is computed beside it.

use std::arch::x86_64::*;

use super::super::Kernel;
use super::format::{Format, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Stored};
use super::panel::{BLOCK, PanelBlock, ROWS, ask_for};
use super::{avx2, avx512};

impl Kernel {
    /// Whether it is exact with `format`: AVX2 adds products in 16 bits, where those of bytes would saturate.
    pub fn reads(self, format: Format) -> bool {
        self == Self::Avx512Vnni || format.largest() <= 31
    }

    /// How many columns of a panel's product are computed together.
    const fn columns(self) -> usize {
        match self {
            Self::Avx512Vnni => 16,
            Self::Avx2 => 4,
        }
    }
}

/// What turns 32 quantised activations back into numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Activation {
    /// What a quant is multiplied by.
    pub scale: f32,
    /// The sum of the 32 numbers that the quants stand for.
    pub sum: f32,
}

/// Columns of activations: `quants` holds 32 bytes a block and `blocks` one entry, column after column.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    /// Signed bytes.
    pub quants: &'a [i8],
    /// One for each 32 quants.
    pub blocks: &'a [Activation],
    /// Blocks of a column.
    pub depth: usize,
}

impl Columns<'_> {
    /// How many there are.
    fn count(self) -> usize {
        self.blocks.len() / self.depth
    }

    /// Those behind the first `count`.
    fn behind(self, count: usize) -> Self {
        Self {
            quants: &self.quants[count * self.depth * BLOCK..],
            blocks: &self.blocks[count * self.depth..],
            ..self
        }
    }
}

/// 16 rows of weights as they lie in a file.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The first of them.
    pub first: *const u8,
    /// Bytes from one to the next.
    pub stride: usize,
    /// The first of those that are multiplied next, which are asked for meanwhile.
    pub next: *const u8,
}

/// Rounds 32 numbers to signed bytes of one scale, the largest at ±127. What is no number becomes some byte, as in
/// ggml's products.
///
/// # Safety
///
/// The processor has AVX2, 32 numbers can be read, and as many bytes and what belongs to them be written.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn quantise(numbers: *const f32, quants: *mut i8, block: *mut Activation) {
    // SAFETY: each vector is 8 of the 32 numbers; the rest is the caller's promise.
    unsafe {
        let eights: [__m256; 4] = std::array::from_fn(|i| _mm256_loadu_ps(numbers.add(8 * i)));
        let sizes = eights.map(|eight| _mm256_andnot_ps(_mm256_set1_ps(-0.0), eight));
        let size = _mm256_max_ps(
            _mm256_max_ps(sizes[0], sizes[1]),
            _mm256_max_ps(sizes[2], sizes[3]),
        );
        let four = _mm_max_ps(
            _mm256_castps256_ps128(size),
            _mm256_extractf128_ps::<1>(size),
        );
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        let largest = _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
        let scale = largest / 127.0;
        let inverse = _mm256_set1_ps(if largest > 0.0 { 127.0 / largest } else { 0.0 });
        let whole = eights.map(|eight| _mm256_cvtps_epi32(_mm256_mul_ps(eight, inverse)));
        // Packing works on halves of vectors; the last step puts their words back in order.
        let low = _mm256_packs_epi32(whole[0], whole[1]);
        let high = _mm256_packs_epi32(whole[2], whole[3]);
        let packed = _mm256_packs_epi16(low, high);
        let ordered =
            _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256(quants.cast(), ordered);
        let pairs = _mm256_madd_epi16(_mm256_add_epi16(low, high), _mm256_set1_epi16(1));
        let four = _mm_add_epi32(
            _mm256_castsi256_si128(pairs),
            _mm256_extracti128_si256::<1>(pairs),
        );
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        let sum = _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)));
        let sum = scale * sum as f32;
        block.write(Activation { scale, sum });
    }
}

/// Where a tile's results go: row `r` of column `c` at `first + c × stride + r`.
#[derive(Clone, Copy)]
pub struct Output {
    /// The first row of the first column.
    pub first: *mut f32,
    /// Numbers from one column to the next.
    pub stride: usize,
    /// Rows in front that are somebody else's, and are not written.
    pub skip: usize,
    /// Rows that exist, those in front included; at most 16.
    pub rows: usize,
}

impl Output {
    /// Where the columns behind the first `count` go.
    fn behind(self, count: usize) -> Self {
        Self {
            first: self.first.wrapping_add(count * self.stride),
            ..self
        }
    }

    /// Writes `R` rows of a column, from row `at` of the tile on.
    ///
    /// # Safety
    ///
    /// The column's rows can be written.
    #[inline(always)]
    unsafe fn write<const R: usize>(self, column: usize, at: usize, results: &[f32; R]) {
        let (start, end) = (self.skip.max(at), self.rows.min(at + R));
        if start >= end {
            return;
        }
        // SAFETY: rows `start..end` exist, and lie in `results`; the rest is the caller's promise.
        unsafe {
            let to = self.first.add(column * self.stride + start);
            if end - start == R {
                to.cast::<[f32; R]>().write_unaligned(*results);
            } else {
                std::ptr::copy_nonoverlapping(results.as_ptr().add(start - at), to, end - start);
            }
        }
    }
}

/// The most columns that [`multiply_rows`] takes. Beyond them it pays to unpack a tile once, since bringing the parts
/// of a row's sums together costs as much again for each column.
pub const FEW: usize = 8;

/// Multiplies a tile with every column.
///
/// # Safety
///
/// The processor runs `kernel`, which reads `format`; `panel` is as deep as the columns, and the rows of every
/// column can be written to `output`.
pub unsafe fn multiply(
    kernel: Kernel,
    format: Format,
    panel: &[PanelBlock],
    mut columns: Columns<'_>,
    mut output: Output,
) {
    assert!(panel.len() == columns.depth && columns.blocks.len().is_multiple_of(panel.len()));
    assert_eq!(columns.quants.len(), columns.blocks.len() * BLOCK);
    while columns.count() > 0 {
        // The largest power of two that is left: a column's sums do not depend on its neighbours.
        let wide = kernel.columns().min(1 << columns.count().ilog2());
        // SAFETY: there are as many columns; the rest is the caller's promise.
        unsafe {
            match kernel {
                Kernel::Avx512Vnni => avx512_panel::<8>(wide, panel, columns, output),
                Kernel::Avx2 if format.largest() > 15 => {
                    avx2_panel::<4>(wide, panel, columns, output);
                }
                Kernel::Avx2 => avx2_panel::<8>(wide, panel, columns, output),
            }
        }
        (columns, output) = (columns.behind(wide), output.behind(wide));
    }
}

/// Multiplies a tile with every column without unpacking it first, to the same results as [`multiply`].
///
/// # Safety
///
/// The processor runs `kernel`, which reads `format`; `rows` are 16 rows in it, as deep as the columns, of which there
/// are 1 to [`FEW`]; the rows of every column can be written to `output`.
pub unsafe fn multiply_rows(
    kernel: Kernel,
    format: Format,
    rows: Rows,
    columns: Columns<'_>,
    output: Output,
) {
    assert!((1..=FEW).contains(&columns.count()));
    assert_eq!(columns.quants.len(), columns.blocks.len() * BLOCK);
    // SAFETY: the caller's promise.
    unsafe {
        match format {
            Format::Q4_0 => multiply_rows_as::<Q4_0>(kernel, rows, columns, output),
            Format::Q4_1 => multiply_rows_as::<Q4_1>(kernel, rows, columns, output),
            Format::Q5_0 => multiply_rows_as::<Q5_0>(kernel, rows, columns, output),
            Format::Q5_1 => multiply_rows_as::<Q5_1>(kernel, rows, columns, output),
            Format::Q8_0 => multiply_rows_as::<Q8_0>(kernel, rows, columns, output),
        }
    }
}

/// # Safety
///
/// As for [`multiply_rows`].
unsafe fn multiply_rows_as<S: Stored>(
    kernel: Kernel,
    rows: Rows,
    columns: Columns<'_>,
    output: Output,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match kernel {
            Kernel::Avx512Vnni => avx512_rows::<S>(rows, columns, output),
            Kernel::Avx2 => avx2_rows::<S>(rows, columns, output),
        }
    }
}

/// Writes the products of one instruction set, whose steps are in the module `$set`: a function for panels and one for
/// rows as they lie in the file, each with one for a fixed number of columns.
macro_rules! products {
    ($set:ident, $features:tt, $panel:ident, $panel_columns:ident, $rows:ident, $rows_columns:ident) => {
        /// # Safety
        ///
        /// As for [`multiply`], for the first `wide` columns: 1, 2, 4, 8 or 16.
        unsafe fn $panel<const RUN: usize>(
            wide: usize,
            panel: &[PanelBlock],
            columns: Columns<'_>,
            output: Output,
        ) {
            for at in (0..ROWS).step_by($set::ROWS) {
                // SAFETY: the caller's promise.
                unsafe {
                    match wide {
                        16 => $panel_columns::<RUN, 16>(panel, at, columns, output),
                        8 => $panel_columns::<RUN, 8>(panel, at, columns, output),
                        4 => $panel_columns::<RUN, 4>(panel, at, columns, output),
                        2 => $panel_columns::<RUN, 2>(panel, at, columns, output),
                        _ => $panel_columns::<RUN, 1>(panel, at, columns, output),
                    }
                }
            }
        }

        /// As many rows of the tile as fit a vector, from row `at` on.
        ///
        /// # Safety
        ///
        /// As for the function above, with `N` for `wide`.
        #[target_feature(enable = $features)]
        unsafe fn $panel_columns<const RUN: usize, const N: usize>(
            panel: &[PanelBlock],
            at: usize,
            columns: Columns<'_>,
            output: Output,
        ) {
            let mut totals = [$set::zero(); N];
            // SAFETY: `panel` has as many blocks as each of the first `N` columns, with 32 quants a block. It is aligned
            // to 64 bytes, so its rows are aligned from `at` on to what a vector of them needs.
            unsafe {
                let (quants, blocks) = (columns.quants.as_ptr(), columns.blocks.as_ptr());
                for (index, block) in panel.iter().enumerate() {
                    let weights: [$set::Integers; 8] =
                        std::array::from_fn(|i| $set::words(block.quants[i].as_ptr().add(at)));
                    let scales = $set::numbers(block.scales.as_ptr().add(at));
                    let mins = $set::numbers(block.mins.as_ptr().add(at));
                    for (column, total) in totals.iter_mut().enumerate() {
                        let place = column * columns.depth + index;
                        let sum = $set::dot::<RUN>(&weights, quants.add(place * BLOCK));
                        *total = $set::add(*total, sum, scales, mins, *blocks.add(place));
                    }
                }
                for (column, total) in totals.into_iter().enumerate() {
                    let mut results = [0.0; $set::ROWS];
                    $set::store(total, results.as_mut_ptr());
                    output.write(column, at, &results);
                }
            }
        }

        /// # Safety
        ///
        /// As for [`multiply_rows`].
        unsafe fn $rows<S: Stored>(rows: Rows, columns: Columns<'_>, output: Output) {
            for at in (0..ROWS).step_by($set::ROWS) {
                // SAFETY: the caller's promise.
                unsafe {
                    match columns.count() {
                        1 => $rows_columns::<S, 1>(rows, at, columns, output),
                        2 => $rows_columns::<S, 2>(rows, at, columns, output),
                        3 => $rows_columns::<S, 3>(rows, at, columns, output),
                        4 => $rows_columns::<S, 4>(rows, at, columns, output),
                        5 => $rows_columns::<S, 5>(rows, at, columns, output),
                        6 => $rows_columns::<S, 6>(rows, at, columns, output),
                        7 => $rows_columns::<S, 7>(rows, at, columns, output),
                        _ => $rows_columns::<S, FEW>(rows, at, columns, output),
                    }
                }
            }
        }

        /// As many rows of the tile as fit a vector, from row `at` on.
        ///
        /// # Safety
        ///
        /// As for [`multiply_rows`], with `N` columns.
        #[target_feature(enable = $features)]
        unsafe fn $rows_columns<S: Stored, const N: usize>(
            rows: Rows,
            at: usize,
            columns: Columns<'_>,
            output: Output,
        ) {
            let mut totals = [$set::zero(); N];
            // SAFETY: there are 16 rows of as many blocks as each of the `N` columns, with 32 quants a block.
            unsafe {
                let (quants, blocks) = (columns.quants.as_ptr(), columns.blocks.as_ptr());
                for index in 0..columns.depth {
                    let ahead = (at * columns.depth + index * $set::ROWS) * S::BYTES;
                    ask_for(rows.next.wrapping_add(ahead), $set::ROWS * S::BYTES);
                    let block = rows.first.add(at * rows.stride + index * S::BYTES);
                    let weights = [
                        $set::quants::<S>(block, 4 * rows.stride),
                        $set::quants::<S>(block.add(rows.stride), 4 * rows.stride),
                        $set::quants::<S>(block.add(2 * rows.stride), 4 * rows.stride),
                        $set::quants::<S>(block.add(3 * rows.stride), 4 * rows.stride),
                    ];
                    let (scales, mins) = $set::scales::<S>(block, rows.stride);
                    for (column, total) in totals.iter_mut().enumerate() {
                        let place = column * columns.depth + index;
                        let sum = $set::sums(&weights, quants.add(place * BLOCK));
                        *total = $set::add(*total, sum, scales, mins, *blocks.add(place));
                    }
                }
                for (column, total) in totals.into_iter().enumerate() {
                    let mut results = [0.0; $set::ROWS];
                    $set::store(total, results.as_mut_ptr());
                    output.write(column, at, &results);
                }
            }
        }
    };
}

products!(
    avx512,
    "avx512f,avx512bw,avx512vnni",
    avx512_panel,
    avx512_panel_columns,
    avx512_rows,
    avx512_rows_columns
);
products!(
    avx2,
    "avx2,fma,f16c",
    avx2_panel,
    avx2_panel_columns,
    avx2_rows,
    avx2_rows_columns
);

//! Products of a panel of weights with quantised activations, for the processors that the field has.
//!
//! Every number of a product is added up in the same order however many columns there are, so that a token's
//! result does not depend on what is computed beside it.

use std::arch::x86_64::*;

use super::format::Format;
use super::panel::{BLOCK, PanelBlock, ROWS};

/// Which instructions a product uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Sums of four byte products in one instruction, 16 rows at once.
    Avx512Vnni,
    /// Sums of two byte products in 16 bits, eight rows at once.
    Avx2,
}

impl Kernel {
    /// The best that this processor runs; `None` where ggml's own products are to be used.
    pub fn detect() -> Option<Self> {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
        match (avx2, avx512) {
            (true, true) => Some(Self::Avx512Vnni),
            (true, false) => Some(Self::Avx2),
            (false, _) => None,
        }
    }

    /// Whether it is exact with `format`: AVX2 adds products in 16 bits, where those of bytes would saturate.
    pub fn reads(self, format: Format) -> bool {
        self == Self::Avx512Vnni || format.largest() <= 31
    }

    /// How many columns are computed together.
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

/// Rounds 32 numbers to signed bytes of one scale, the largest at ±127. What is no number becomes some byte, as in
/// ggml's products.
///
/// # Safety
///
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn quantise(numbers: &[f32; BLOCK]) -> ([i8; BLOCK], Activation) {
    // SAFETY: each vector is 8 of the 32 numbers; the bytes are written whole.
    unsafe {
        let eights: [__m256; 4] =
            std::array::from_fn(|i| _mm256_loadu_ps(numbers.as_ptr().add(8 * i)));
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
        let mut quants = [0; BLOCK];
        _mm256_storeu_si256(quants.as_mut_ptr().cast(), ordered);
        let pairs = _mm256_madd_epi16(_mm256_add_epi16(low, high), _mm256_set1_epi16(1));
        let four = _mm_add_epi32(
            _mm256_castsi256_si128(pairs),
            _mm256_extracti128_si256::<1>(pairs),
        );
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        let sum = _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)));
        let sum = scale * sum as f32;
        (quants, Activation { scale, sum })
    }
}

/// Where a tile's results go: row `r` of column `c` at `first + c × stride + r`, for the rows that exist.
#[derive(Clone, Copy)]
pub struct Output {
    /// The first row of the first column.
    pub first: *mut f32,
    /// Numbers from one column to the next.
    pub stride: usize,
    /// Rows that exist, at most 16.
    pub rows: usize,
}

impl Output {
    /// Writes a column.
    ///
    /// # Safety
    ///
    /// The column's rows can be written.
    #[inline(always)]
    unsafe fn write(self, column: usize, results: &[f32; ROWS]) {
        // SAFETY: `rows` is at most 16, and the caller's promise.
        unsafe {
            let to = self.first.add(column * self.stride);
            if self.rows == ROWS {
                to.cast::<[f32; ROWS]>().write_unaligned(*results);
            } else {
                std::ptr::copy_nonoverlapping(results.as_ptr(), to, self.rows);
            }
        }
    }
}

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
    columns: Columns<'_>,
    output: Output,
) {
    assert!(panel.len() == columns.depth && columns.blocks.len().is_multiple_of(panel.len()));
    assert_eq!(columns.quants.len(), columns.blocks.len() * BLOCK);
    let count = columns.blocks.len() / panel.len();
    let mut first = 0;
    while first < count {
        // The largest power of two that is left: a column's sums do not depend on its neighbours.
        let wide = kernel.columns().min(1 << (count - first).ilog2());
        // SAFETY: columns `first..first + wide` exist; the rest is the caller's promise.
        unsafe {
            match kernel {
                Kernel::Avx512Vnni => avx512(wide, panel, columns, first, output),
                Kernel::Avx2 if format.largest() > 15 => {
                    avx2::<4>(wide, panel, columns, first, output)
                }
                Kernel::Avx2 => avx2::<8>(wide, panel, columns, first, output),
            }
        }
        first += wide;
    }
}

/// # Safety
///
/// As for [`multiply`], for columns `first..first + wide`, where `wide` is 1, 2, 4, 8 or 16.
#[inline]
unsafe fn avx512(
    wide: usize,
    panel: &[PanelBlock],
    columns: Columns<'_>,
    first: usize,
    output: Output,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match wide {
            16 => avx512_columns::<16>(panel, columns, first, output),
            8 => avx512_columns::<8>(panel, columns, first, output),
            4 => avx512_columns::<4>(panel, columns, first, output),
            2 => avx512_columns::<2>(panel, columns, first, output),
            _ => avx512_columns::<1>(panel, columns, first, output),
        }
    }
}

/// # Safety
///
/// As for [`avx512`], with `N` for `wide`.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn avx512_columns<const N: usize>(
    panel: &[PanelBlock],
    columns: Columns<'_>,
    first: usize,
    output: Output,
) {
    let depth = columns.depth;
    let mut totals = [_mm512_setzero_ps(); N];
    // SAFETY: `panel` has `depth` blocks and columns `first..first + N` exist, with 32 quants a block; the
    // panel is aligned to 64 bytes.
    unsafe {
        let quants = columns.quants.as_ptr().add(first * depth * BLOCK);
        let blocks = columns.blocks.as_ptr().add(first * depth);
        for (index, block) in panel.iter().enumerate() {
            let weights: [__m512i; 8] =
                std::array::from_fn(|i| _mm512_load_si512(block.quants[i].as_ptr().cast()));
            let scales = _mm512_load_ps(block.scales.as_ptr());
            let mins = _mm512_load_ps(block.mins.as_ptr());
            for (column, total) in totals.iter_mut().enumerate() {
                let words = quants.add((column * depth + index) * BLOCK).cast::<i32>();
                let activation = &*blocks.add(column * depth + index);
                let mut sum = _mm512_setzero_si512();
                for (i, weights) in weights.into_iter().enumerate() {
                    sum = _mm512_dpbusd_epi32(
                        sum,
                        weights,
                        _mm512_set1_epi32(words.add(i).read_unaligned()),
                    );
                }
                let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales);
                *total = _mm512_fmadd_ps(scaled, _mm512_set1_ps(activation.scale), *total);
                *total = _mm512_fmadd_ps(mins, _mm512_set1_ps(activation.sum), *total);
            }
        }
        for (column, total) in totals.into_iter().enumerate() {
            let mut results = [0.0; ROWS];
            _mm512_storeu_ps(results.as_mut_ptr(), total);
            output.write(first + column, &results);
        }
    }
}

/// # Safety
///
/// As for [`multiply`], for columns `first..first + wide`, where `wide` is 1, 2 or 4.
#[inline]
unsafe fn avx2<const RUN: usize>(
    wide: usize,
    panel: &[PanelBlock],
    columns: Columns<'_>,
    first: usize,
    output: Output,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match wide {
            4 => avx2_columns::<RUN, 4>(panel, columns, first, output),
            2 => avx2_columns::<RUN, 2>(panel, columns, first, output),
            _ => avx2_columns::<RUN, 1>(panel, columns, first, output),
        }
    }
}

/// `RUN` words' products fit 16 bits when added up: 8 of four bits, 4 of five.
///
/// # Safety
///
/// As for [`avx2`], with `N` for `wide`.
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_columns<const RUN: usize, const N: usize>(
    panel: &[PanelBlock],
    columns: Columns<'_>,
    first: usize,
    output: Output,
) {
    let depth = columns.depth;
    let mut totals = [[_mm256_setzero_ps(); 2]; N];
    let ones = _mm256_set1_epi16(1);
    // SAFETY: as in `avx512_columns`.
    unsafe {
        let quants = columns.quants.as_ptr().add(first * depth * BLOCK);
        let blocks = columns.blocks.as_ptr().add(first * depth);
        for (index, block) in panel.iter().enumerate() {
            for eight in 0..2 {
                let weights: [__m256i; 8] = std::array::from_fn(|i| {
                    _mm256_load_si256(block.quants[i].as_ptr().add(8 * eight).cast())
                });
                for (column, totals) in totals.iter_mut().enumerate() {
                    let words = quants.add((column * depth + index) * BLOCK).cast::<i32>();
                    let activation = &*blocks.add(column * depth + index);
                    let product = |i: usize| {
                        _mm256_maddubs_epi16(
                            weights[i],
                            _mm256_set1_epi32(words.add(i).read_unaligned()),
                        )
                    };
                    let sum = (0..8)
                        .step_by(RUN)
                        .fold(_mm256_setzero_si256(), |sum, start| {
                            let run = (start + 1..start + RUN)
                                .fold(product(start), |run, i| _mm256_add_epi16(run, product(i)));
                            _mm256_add_epi32(sum, _mm256_madd_epi16(run, ones))
                        });
                    let scales = _mm256_load_ps(block.scales.as_ptr().add(8 * eight));
                    let mins = _mm256_load_ps(block.mins.as_ptr().add(8 * eight));
                    let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scales);
                    let total = &mut totals[eight];
                    *total = _mm256_fmadd_ps(scaled, _mm256_set1_ps(activation.scale), *total);
                    *total = _mm256_fmadd_ps(mins, _mm256_set1_ps(activation.sum), *total);
                }
            }
        }
        for (column, totals) in totals.into_iter().enumerate() {
            let mut results = [0.0; ROWS];
            for (eight, total) in totals.into_iter().enumerate() {
                _mm256_storeu_ps(results.as_mut_ptr().add(8 * eight), total);
            }
            output.write(first + column, &results);
        }
    }
}

//! Weights as the kernels read them: 16 rows side by side, every quant a byte.

use std::arch::x86_64::*;

use super::format::Format;

/// Rows of a tile.
pub const ROWS: usize = 16;

/// Weights of a row that share a scale in every format; where a format has two scales in them, each has half.
pub const BLOCK: usize = 32;

/// 32 columns of 16 rows.
///
/// Weight `4 i + b` of row `r` is `scale × q + min`, with `q` the byte `b` of `quants[i][r]`, and scale and min
/// of the half in which it lies; in formats without halves the first holds for all.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct PanelBlock {
    /// Four quants of each row at a time, lowest column in the lowest byte.
    pub quants: [[u32; ROWS]; BLOCK / 4],
    /// What a quant is multiplied by.
    pub scales: [[f32; ROWS]; 2],
    /// What is added to each weight.
    pub mins: [[f32; ROWS]; 2],
}

/// How one row's share of a block turns quants into weights: both numbers are halves in the file, each with
/// a factor for the first and second 16 weights.
#[derive(Clone, Copy)]
pub struct Scaling {
    /// The scale, as a half.
    pub scale: u16,
    /// The min, as a half.
    pub min: u16,
    /// Factors of the scale.
    pub scale_factors: [f32; 2],
    /// Factors of the min.
    pub min_factors: [f32; 2],
}

/// Unpacks a tile of 16 rows.
///
/// # Safety
///
/// The processor has AVX2 and F16C. Each of `rows` points at `panel.len() × 32` weights in `format`.
pub unsafe fn unpack(format: Format, rows: [*const u8; ROWS], panel: &mut [PanelBlock]) {
    use super::format::*;
    // SAFETY: the caller's promise.
    unsafe {
        match format {
            Format::Q4_0 => unpack_as::<Q4_0>(rows, panel),
            Format::Q4_1 => unpack_as::<Q4_1>(rows, panel),
            Format::Q5_0 => unpack_as::<Q5_0>(rows, panel),
            Format::Q5_1 => unpack_as::<Q5_1>(rows, panel),
            Format::Q8_0 => unpack_as::<Q8_0>(rows, panel),
            Format::Q4K => unpack_as::<Q4K>(rows, panel),
            Format::Q5K => unpack_as::<Q5K>(rows, panel),
            Format::Q6K => unpack_as::<Q6K>(rows, panel),
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
unsafe fn unpack_as<S: super::format::Stored>(rows: [*const u8; ROWS], panel: &mut [PanelBlock]) {
    let parts = S::WEIGHTS / BLOCK;
    for (index, out) in panel.iter_mut().enumerate() {
        // SAFETY: the rows hold `panel.len()` blocks of 32.
        let (blocks, part) = unsafe { (rows.map(|row| row.add(index / parts * S::BYTES)), index % parts) };
        // SAFETY: as above.
        unsafe {
            match S::NIBBLES_AT {
                Some(at) => transpose_nibbles(blocks.map(|block| block.add(at)), &mut out.quants),
                None => {
                    let mut bytes = [[0_u8; BLOCK]; ROWS];
                    for (row, bytes) in blocks.iter().zip(&mut bytes) {
                        S::quants(*row, part, bytes);
                    }
                    transpose_bytes(&bytes, &mut out.quants);
                }
            }
        }
        // SAFETY: as above.
        let scaling = blocks.map(|block| unsafe { S::scaling(block, part) });
        let scale = halves(scaling.map(|scaling| scaling.scale));
        let min = halves(scaling.map(|scaling| scaling.min));
        for half in 0..if S::HALVES { 2 } else { 1 } {
            for row in 0..ROWS {
                out.scales[half][row] = scale[row] * scaling[row].scale_factors[half];
                out.mins[half][row] = min[row] * scaling[row].min_factors[half];
            }
        }
    }
}

/// The numbers of 16 halves.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn halves(bits: [u16; ROWS]) -> [f32; ROWS] {
    let mut numbers = [0.0; ROWS];
    // SAFETY: 8 of 16 elements are read and written at a time.
    unsafe {
        for at in [0, 8] {
            let eight = _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().add(at).cast()));
            _mm256_storeu_ps(numbers.as_mut_ptr().add(at), eight);
        }
    }
    numbers
}

/// Four rows of four words, turned: word `i` of each row in the `i`th.
#[inline]
#[target_feature(enable = "avx2")]
fn turn([a, b, c, d]: [__m128i; 4]) -> [__m128i; 4] {
    let (ab_low, ab_high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
    [
        _mm_unpacklo_epi64(ab_low, cd_low),
        _mm_unpackhi_epi64(ab_low, cd_low),
        _mm_unpacklo_epi64(ab_high, cd_high),
        _mm_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Turns 16 rows of 16 bytes, whose low halves are quants 0 to 15 and high halves quants 16 to 31.
///
/// # Safety
///
/// 16 bytes can be read at each of `rows`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_nibbles(rows: [*const u8; ROWS], out: &mut [[u32; ROWS]; 8]) {
    let low = _mm_set1_epi8(15);
    for first in (0..ROWS).step_by(4) {
        // SAFETY: the caller's promise; the writes are four words from `first` of 16.
        unsafe {
            let four = turn(std::array::from_fn(|i| _mm_loadu_si128(rows[first + i].cast())));
            for (word, packed) in four.into_iter().enumerate() {
                let at = |word: usize, out: &mut [[u32; ROWS]; 8]| out[word].as_mut_ptr().add(first).cast();
                _mm_store_si128(at(word, out), _mm_and_si128(packed, low));
                _mm_store_si128(at(word + 4, out), _mm_and_si128(_mm_srli_epi16::<4>(packed), low));
            }
        }
    }
}

/// Turns 16 rows of 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose_bytes(rows: &[[u8; BLOCK]; ROWS], out: &mut [[u32; ROWS]; 8]) {
    for half in 0..2 {
        for first in (0..ROWS).step_by(4) {
            // SAFETY: 16 bytes from `half × 16` of 32; four words from `first` of 16.
            unsafe {
                let row = |i: usize| _mm_loadu_si128(rows[first + i].as_ptr().add(16 * half).cast());
                for (word, turned) in turn(std::array::from_fn(row)).into_iter().enumerate() {
                    _mm_store_si128(out[4 * half + word].as_mut_ptr().add(first).cast(), turned);
                }
            }
        }
    }
}

//! Weights as the kernels read them: 16 rows side by side, every quant a byte.

use std::arch::x86_64::*;

use super::format::{Format, Scales, Stored};

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
unsafe fn unpack_as<S: Stored>(rows: [*const u8; ROWS], panel: &mut [PanelBlock]) {
    for (index, parts) in panel.chunks_mut(S::WEIGHTS / BLOCK).enumerate() {
        // SAFETY: the rows hold `panel.len()` blocks of 32, and every place lies in its block.
        unsafe {
            let blocks = rows.map(|row| row.add(index * S::BYTES));
            for (part, out) in parts.iter_mut().enumerate() {
                unpack_quants::<S>(blocks, part, &mut out.quants);
            }
            unpack_scales::<S>(blocks, parts);
        }
    }
}

/// The quants of 32 weights of each row.
///
/// # Safety
///
/// The processor has AVX2, and `blocks` point at blocks in the format.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn unpack_quants<S: Stored>(
    blocks: [*const u8; ROWS],
    part: usize,
    out: &mut [[u32; ROWS]; 8],
) {
    let bits = |bits: u8| _mm_set1_epi8(bits as i8);
    let shifted =
        |words: __m128i, shift: u32| _mm_srl_epi32(words, _mm_cvtsi32_si128(shift as i32));
    for first in (0..ROWS).step_by(4) {
        let four: [*const u8; 4] = std::array::from_fn(|row| blocks[first + row]);
        // SAFETY: the caller's promise; the writes are four words from `first` of 16.
        unsafe {
            let fifth = S::FIFTH_BITS_AT.map_or(_mm_setzero_si128(), |at| {
                let word = |row: usize| four[row].add(at).cast::<i32>().read_unaligned();
                _mm_setr_epi32(word(0), word(1), word(2), word(3))
            });
            for half in 0..2 {
                let (low, high) = (S::low(part, half), S::high(part, half));
                let lows = turn(four.map(|block| block.add(low.at)));
                let highs = match S::HIGH_BITS {
                    0 => lows,
                    _ => turn(four.map(|block| block.add(high.at))),
                };
                for (index, (low_bits, high_bits)) in lows.into_iter().zip(highs).enumerate() {
                    let word = 4 * half + index;
                    let mut quants = _mm_and_si128(shifted(low_bits, low.shift), bits(S::LOW_BITS));
                    quants = _mm_xor_si128(quants, bits(S::FLIP));
                    if S::HIGH_BITS != 0 {
                        let high =
                            _mm_and_si128(shifted(high_bits, high.shift), bits(S::HIGH_BITS));
                        quants = _mm_or_si128(quants, _mm_slli_epi32::<4>(high));
                    }
                    if S::FIFTH_BITS_AT.is_some() {
                        // Four bits, one to a byte: each is moved there by one of the factor's bits.
                        let four =
                            _mm_and_si128(shifted(fifth, 4 * word as u32), _mm_set1_epi32(15));
                        let spread = _mm_mullo_epi32(four, _mm_set1_epi32(0x0020_4081));
                        quants = _mm_or_si128(
                            quants,
                            _mm_slli_epi32::<4>(_mm_and_si128(spread, bits(1))),
                        );
                    }
                    _mm_storeu_si128(out[word].as_mut_ptr().add(first).cast(), quants);
                }
            }
        }
    }
}

/// Reads 16 bytes of each of four rows and gives word `i` of each in its `i`th place.
///
/// # Safety
///
/// The processor has AVX2, and 16 bytes can be read at each of `rows`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn turn(rows: [*const u8; 4]) -> [__m128i; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = rows.map(|row| unsafe { _mm_loadu_si128(row.cast()) });
    let (ab_low, ab_high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
    [
        _mm_unpacklo_epi64(ab_low, cd_low),
        _mm_unpackhi_epi64(ab_low, cd_low),
        _mm_unpacklo_epi64(ab_high, cd_high),
        _mm_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The scales and mins of every part of a block.
///
/// # Safety
///
/// The processor has AVX2 and F16C, and `blocks` point at blocks in the format.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn unpack_scales<S: Stored>(blocks: [*const u8; ROWS], parts: &mut [PanelBlock]) {
    // SAFETY: the caller's promise.
    unsafe {
        match S::SCALES {
            Scales::Offset(offset) => {
                let out = &mut parts[0];
                out.scales[0] = halves(blocks);
                for (min, scale) in out.mins[0].iter_mut().zip(&out.scales[0]) {
                    *min = -offset * scale;
                }
            }
            Scales::Min => {
                parts[0].scales[0] = halves(blocks);
                parts[0].mins[0] = halves(blocks.map(|block| block.add(2)));
            }
            Scales::SixBits => {
                let (scale, min) = (halves(blocks), halves(blocks.map(|block| block.add(2))));
                let [first, second, third, _] = words(blocks.map(|block| block.add(4)));
                let mut factors = [[0_u32; ROWS]; 4];
                for row in 0..ROWS {
                    factors[0][row] = first[row] & 0x3f3f_3f3f;
                    factors[1][row] =
                        third[row] & 0x0f0f_0f0f | (first[row] >> 6 & 0x0303_0303) << 4;
                    factors[2][row] = second[row] & 0x3f3f_3f3f;
                    factors[3][row] =
                        third[row] >> 4 & 0x0f0f_0f0f | (second[row] >> 6 & 0x0303_0303) << 4;
                }
                for (part, out) in parts.iter_mut().enumerate() {
                    let shift = 8 * (part % 4);
                    for row in 0..ROWS {
                        let factor =
                            |word: usize| (factors[word][row] >> shift & 255) as i32 as f32;
                        out.scales[0][row] = scale[row] * factor(part / 4);
                        out.mins[0][row] = -min[row] * factor(2 + part / 4);
                    }
                }
            }
            Scales::SignedBytes => {
                let scale = halves(blocks.map(|block| block.add(208)));
                let factors = words(blocks.map(|block| block.add(192)));
                for (part, out) in parts.iter_mut().enumerate() {
                    for half in 0..2 {
                        let shift = 24 - 8 * ((2 * part + half) % 4);
                        for row in 0..ROWS {
                            let factor = ((factors[part / 2][row] << shift) as i32 >> 24) as f32;
                            out.scales[half][row] = scale[row] * factor;
                            out.mins[half][row] = -32.0 * out.scales[half][row];
                        }
                    }
                }
            }
        }
    }
}

/// The numbers of the halves that 16 pointers point at.
///
/// # Safety
///
/// The processor has AVX2 and F16C, and two bytes can be read at each.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn halves(at: [*const u8; ROWS]) -> [f32; ROWS] {
    let mut numbers = [0.0; ROWS];
    // SAFETY: the caller's promise; 8 of 16 numbers are written at a time.
    unsafe {
        let half = |row: usize| at[row].cast::<i16>().read_unaligned();
        for first in [0, 8] {
            let bits = |row: usize| half(first + row);
            let eight = _mm_setr_epi16(
                bits(0),
                bits(1),
                bits(2),
                bits(3),
                bits(4),
                bits(5),
                bits(6),
                bits(7),
            );
            _mm256_storeu_ps(numbers.as_mut_ptr().add(first), _mm256_cvtph_ps(eight));
        }
    }
    numbers
}

/// Four words of 16 rows.
///
/// # Safety
///
/// The processor has AVX2, and 16 bytes can be read at each of `rows`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn words(rows: [*const u8; ROWS]) -> [[u32; ROWS]; 4] {
    let mut words = [[0; ROWS]; 4];
    for first in (0..ROWS).step_by(4) {
        // SAFETY: the caller's promise; the writes are four words from `first` of 16.
        unsafe {
            let four = turn(std::array::from_fn(|row| rows[first + row]));
            for (words, four) in words.iter_mut().zip(four) {
                _mm_storeu_si128(words.as_mut_ptr().add(first).cast(), four);
            }
        }
    }
    words
}

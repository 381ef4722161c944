//! Weights as the kernels read them: 16 rows side by side, every quant a byte.

use std::arch::x86_64::*;

use super::format::{Format, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Quants, Scale, Stored};

/// Rows of a tile.
pub const ROWS: usize = 16;

/// Weights of a row that share a scale.
pub const BLOCK: usize = 32;

/// Weights of a block in four words a row: the lowest column in the lowest byte.
type Words = [[u32; ROWS]; BLOCK / 4];

/// 32 columns of 16 rows. Weight `4 i + b` of row `r` is `scales[r] × q + mins[r]`, with `q` the byte `b` of
/// `quants[i][r]`.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct PanelBlock {
    /// Four quants of each row at a time.
    pub quants: Words,
    /// What a quant is multiplied by.
    pub scales: [f32; ROWS],
    /// What is added to each weight.
    pub mins: [f32; ROWS],
}

/// Asks for so many bytes, whether they are there or not, so that they arrive while something else is computed: a step
/// reads every weight once, and most come from memory. A part of a tile for each block of the one before keeps memory
/// busy; a whole tile at once would make everything else wait.
#[inline(always)]
pub fn ask_for(at: *const u8, bytes: usize) {
    for line in 0..bytes.div_ceil(64) {
        // SAFETY: nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(64 * line).cast()) };
    }
}

/// Unpacks a tile of 16 rows, and asks for the one that begins at `next`.
///
/// # Safety
///
/// The processor has AVX2 and F16C. Each of `rows` points at `panel.len()` blocks in `format`.
pub unsafe fn unpack(
    format: Format,
    rows: [*const u8; ROWS],
    next: *const u8,
    panel: &mut [PanelBlock],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match format {
            Format::Q4_0 => unpack_as::<Q4_0>(rows, next, panel),
            Format::Q4_1 => unpack_as::<Q4_1>(rows, next, panel),
            Format::Q5_0 => unpack_as::<Q5_0>(rows, next, panel),
            Format::Q5_1 => unpack_as::<Q5_1>(rows, next, panel),
            Format::Q8_0 => unpack_as::<Q8_0>(rows, next, panel),
        }
    }
}

/// # Safety
///
/// As for [`unpack`].
#[target_feature(enable = "avx2,f16c")]
unsafe fn unpack_as<S: Stored>(rows: [*const u8; ROWS], next: *const u8, panel: &mut [PanelBlock]) {
    for (index, out) in panel.iter_mut().enumerate() {
        ask_for(next.wrapping_add(index * ROWS * S::BYTES), ROWS * S::BYTES);
        // SAFETY: the caller's promise; what is read lies in the block.
        unsafe {
            let blocks = rows.map(|row| row.add(index * S::BYTES));
            for first in (0..ROWS).step_by(4) {
                let four = std::array::from_fn(|row| blocks[first + row]);
                unpack_quants::<S>(four, first, &mut out.quants);
            }
            out.scales = halves(blocks);
            out.mins = match S::SCALE {
                Scale::Offset(offset) => out.scales.map(|scale| -offset * scale),
                Scale::Min => halves(blocks.map(|block| block.add(2))),
            };
        }
    }
}

/// The quants of four rows, written from row `first` on.
///
/// # Safety
///
/// The processor has AVX2, `blocks` point at blocks in the format, and `first` is at most 12.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn unpack_quants<S: Stored>(blocks: [*const u8; 4], first: usize, out: &mut Words) {
    // SAFETY: the caller's promise.
    unsafe {
        let turned = |at: usize| turn(blocks.map(|block| block.add(at)));
        let halves = match S::QUANTS {
            Quants::Nibbles(at) => {
                let (both, low) = (turned(at), _mm_set1_epi8(15));
                [
                    both.map(|words| _mm_and_si128(words, low)),
                    both.map(|words| _mm_and_si128(_mm_srli_epi16::<4>(words), low)),
                ]
            }
            Quants::Bytes(at) => [at, at + 16]
                .map(|at| turned(at).map(|words| _mm_xor_si128(words, _mm_set1_epi8(-128)))),
        };
        let fifth = S::FIFTH_BITS_AT.map(|at| {
            let word = |row: usize| blocks[row].add(at).cast::<i32>().read_unaligned();
            _mm_setr_epi32(word(0), word(1), word(2), word(3))
        });
        for (word, quants) in halves.into_iter().flatten().enumerate() {
            let quants = match fifth {
                Some(bits) => _mm_or_si128(quants, spread(bits, word)),
                None => quants,
            };
            _mm_storeu_si128(out[word].as_mut_ptr().add(first).cast(), quants);
        }
    }
}

/// Bits `4 word..4 word + 4` of each word, one to a byte, worth 16.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(bits: __m128i, word: usize) -> __m128i {
    let four = _mm_srl_epi32(bits, _mm_cvtsi32_si128(4 * word as i32));
    let four = _mm_and_si128(four, _mm_set1_epi32(15));
    // Each of the factor's bits moves one of them into its byte.
    let bytes = _mm_mullo_epi32(four, _mm_set1_epi32(0x0020_4081));
    _mm_slli_epi32::<4>(_mm_and_si128(bytes, _mm_set1_epi8(1)))
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

/// The numbers of the halves that 16 pointers point at.
///
/// # Safety
///
/// The processor has AVX2 and F16C, and two bytes can be read at each.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn halves(at: [*const u8; ROWS]) -> [f32; ROWS] {
    let mut numbers = [0.0; ROWS];
    for first in [0, 8] {
        // SAFETY: the caller's promise; 8 of 16 numbers are written at a time.
        unsafe {
            let bits = |row: usize| at[first + row].cast::<i16>().read_unaligned();
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

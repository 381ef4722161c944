//! The steps of a product in AVX2 instructions: eight rows at a time, and sums of byte products in 16 bits.

use std::arch::x86_64::*;

pub use super::super::avx2::{Numbers, store, zero};
use super::format::{ONE_BIT_EACH, Quants, SPREAD, Scale, Stored};
use super::kernel::Activation;

/// Rows side by side.
pub const ROWS: usize = 8;

/// An integer of each row, or bytes of several.
pub type Integers = __m256i;

/// A word of each row of a panel.
///
/// # Safety
///
/// The processor has AVX2, and 32 bytes can be read there, which is aligned to as many.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn words(at: *const u32) -> Integers {
    // SAFETY: the caller's promise.
    unsafe { _mm256_load_si256(at.cast()) }
}

/// A number of each row of a panel.
///
/// # Safety
///
/// As for [`words`].
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn numbers(at: *const f32) -> Numbers {
    // SAFETY: the caller's promise.
    unsafe { _mm256_load_ps(at) }
}

/// What a block adds to the total of each row: its sum of products, scaled.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn add(
    total: Numbers,
    sum: Integers,
    scales: Numbers,
    mins: Numbers,
    activation: Activation,
) -> Numbers {
    let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scales);
    let total = _mm256_fmadd_ps(scaled, _mm256_set1_ps(activation.scale), total);
    _mm256_fmadd_ps(mins, _mm256_set1_ps(activation.sum), total)
}

/// The sums of products of a panel's block with 32 activations. The products of `RUN` words fit 16 bits when added
/// up: 8 of four bits, 4 of five.
///
/// # Safety
///
/// The processor has AVX2, and 32 bytes can be read at `activations`.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn dot<const RUN: usize>(weights: &[Integers; 8], activations: *const i8) -> Integers {
    let product = |i: usize| {
        // SAFETY: the caller's promise.
        let four = unsafe { activations.cast::<i32>().add(i).read_unaligned() };
        _mm256_maddubs_epi16(weights[i], _mm256_set1_epi32(four))
    };
    let ones = _mm256_set1_epi16(1);
    (0..8)
        .step_by(RUN)
        .fold(_mm256_setzero_si256(), |sum, start| {
            let run = (start + 1..start + RUN)
                .fold(product(start), |run, i| _mm256_add_epi16(run, product(i)));
            _mm256_add_epi32(sum, _mm256_madd_epi16(run, ones))
        })
}

/// The quants of two rows' blocks that lie `step` bytes apart, as bytes: the first 16 of each, and the others.
///
/// # Safety
///
/// The processor has AVX2, and there are such blocks.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn quants<S: Stored>(block: *const u8, step: usize) -> [Integers; 2] {
    // SAFETY: what is read lies in the blocks.
    unsafe {
        let [low, high] = match S::QUANTS {
            Quants::Nibbles(at) => {
                let (both, mask) = (two(block.add(at), step), _mm256_set1_epi8(15));
                [
                    _mm256_and_si256(both, mask),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(both), mask),
                ]
            }
            Quants::Bytes(at) => {
                let sign = _mm256_set1_epi8(-128);
                [
                    _mm256_xor_si256(two(block.add(at), step), sign),
                    _mm256_xor_si256(two(block.add(at + 16), step), sign),
                ]
            }
        };
        match S::FIFTH_BITS_AT {
            None => [low, high],
            Some(at) => {
                // Behind the 32 bits the quants begin, so there are 16 bytes to read.
                let bits = two(block.add(at), step);
                [fifth(low, bits, 0), fifth(high, bits, 2)]
            }
        }
    }
}

/// Adds 16 to each byte whose bit is set: in each row, of the two bytes of bits from the `first` on.
#[inline]
#[target_feature(enable = "avx2")]
fn fifth(quants: __m256i, bits: __m256i, first: i8) -> __m256i {
    let (one, two) = (i64::from(first) * SPREAD, i64::from(first + 1) * SPREAD);
    let bytes = _mm256_shuffle_epi8(bits, _mm256_setr_epi64x(one, two, one, two));
    let bit = _mm256_set1_epi64x(ONE_BIT_EACH);
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    _mm256_or_si256(quants, _mm256_and_si256(set, _mm256_set1_epi8(16)))
}

/// 16 bytes of each of two rows.
///
/// # Safety
///
/// The processor has AVX2, and 16 bytes can be read at `first` and `step` bytes further.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn two(first: *const u8, step: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let row = |row: usize| _mm_loadu_si128(first.add(row * step).cast());
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row(0)), row(1))
    }
}

/// What quants are multiplied by and what is added to each weight, for the blocks of eight rows that lie `stride`
/// bytes apart.
///
/// # Safety
///
/// The processor has AVX2 and F16C, and there are such blocks.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn scales<S: Stored>(block: *const u8, stride: usize) -> (Numbers, Numbers) {
    // SAFETY: every block is longer than a word.
    let word = |row: usize| unsafe { block.add(row * stride).cast::<i32>().read_unaligned() };
    // One word holds the scale and what stands behind it.
    let words = _mm256_setr_epi32(
        word(0),
        word(1),
        word(2),
        word(3),
        word(4),
        word(5),
        word(6),
        word(7),
    );
    let first = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
    let second = _mm256_srli_epi32::<16>(words);
    // Packing works on halves of vectors; the last step puts the quarters in order: all first halves, then the others.
    let packed = _mm256_packus_epi32(first, second);
    let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
    let scales = _mm256_cvtph_ps(_mm256_castsi256_si128(ordered));
    let mins = match S::SCALE {
        Scale::Offset(offset) => _mm256_mul_ps(scales, _mm256_set1_ps(-offset)),
        Scale::Min => _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(ordered)),
    };
    (scales, mins)
}

/// The sums of products of eight rows' blocks with 32 activations: `rows[j]` holds the quants of the rows `j` and
/// `j + 4`, which have five bits at most.
///
/// # Safety
///
/// The processor has AVX2, and 32 bytes can be read at `activations`.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn sums(rows: &[[Integers; 2]; 4], activations: *const i8) -> Integers {
    // SAFETY: the caller's promise.
    let (low, high) = unsafe {
        let at = activations.cast::<__m128i>();
        (
            _mm256_broadcastsi128_si256(_mm_loadu_si128(at)),
            _mm256_broadcastsi128_si256(_mm_loadu_si128(at.add(1))),
        )
    };
    // Eight parts of a sum for each row, side by side.
    let parts = |[first, second]: [__m256i; 2]| {
        _mm256_add_epi16(
            _mm256_maddubs_epi16(first, low),
            _mm256_maddubs_epi16(second, high),
        )
    };
    // Half of the parts of `a` and `b` in turn, then the other half: eight products of five bits fit 16.
    let join = |a: __m256i, b: __m256i| {
        let both = _mm256_add_epi16(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        _mm256_madd_epi16(both, _mm256_set1_epi16(1))
    };
    let [a, b, c, d] = *rows;
    let (ab, cd) = (join(parts(a), parts(b)), join(parts(c), parts(d)));
    _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd))
}

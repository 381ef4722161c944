//! The steps of a product in AVX-512 VNNI instructions: 16 rows at a time, and the sum of four byte products in
//! one instruction.

use std::arch::x86_64::*;

pub use super::super::avx512::{Numbers, store, zero};
use super::format::{ONE_BIT_EACH, Quants, SPREAD, Scale, Stored};
use super::kernel::Activation;

/// Rows side by side.
pub const ROWS: usize = 16;

/// An integer of each row, or bytes of several.
pub type Integers = __m512i;

/// A word of each row of a panel.
///
/// # Safety
///
/// The processor has AVX-512F, and 64 bytes can be read there, which is aligned to as many.
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn words(at: *const u32) -> Integers {
    // SAFETY: the caller's promise.
    unsafe { _mm512_load_si512(at.cast()) }
}

/// A number of each row of a panel.
///
/// # Safety
///
/// As for [`words`].
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn numbers(at: *const f32) -> Numbers {
    // SAFETY: the caller's promise.
    unsafe { _mm512_load_ps(at) }
}

/// What a block adds to the total of each row: its sum of products, scaled.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn add(
    total: Numbers,
    sum: Integers,
    scales: Numbers,
    mins: Numbers,
    activation: Activation,
) -> Numbers {
    let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales);
    let total = _mm512_fmadd_ps(scaled, _mm512_set1_ps(activation.scale), total);
    _mm512_fmadd_ps(mins, _mm512_set1_ps(activation.sum), total)
}

/// The sums of products of a panel's block with 32 activations. No run of products is too long for 32 bits.
///
/// # Safety
///
/// The processor has AVX-512 VNNI, and 32 bytes can be read at `activations`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub unsafe fn dot<const RUN: usize>(weights: &[Integers; 8], activations: *const i8) -> Integers {
    let mut sum = _mm512_setzero_si512();
    for (i, &weights) in weights.iter().enumerate() {
        // SAFETY: the caller's promise.
        let four = unsafe { activations.cast::<i32>().add(i).read_unaligned() };
        sum = _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(four));
    }
    sum
}

/// The quants of four rows' blocks that lie `step` bytes apart, as bytes: the first 16 of each, and the others.
///
/// # Safety
///
/// The processor has AVX-512BW, and there are such blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn quants<S: Stored>(block: *const u8, step: usize) -> [Integers; 2] {
    // SAFETY: what is read lies in the blocks.
    unsafe {
        let [low, high] = match S::QUANTS {
            Quants::Nibbles(at) => {
                let (both, mask) = (four(block.add(at), step), _mm512_set1_epi8(15));
                [
                    _mm512_and_si512(both, mask),
                    _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask),
                ]
            }
            Quants::Bytes(at) => {
                let sign = _mm512_set1_epi8(-128);
                [
                    _mm512_xor_si512(four(block.add(at), step), sign),
                    _mm512_xor_si512(four(block.add(at + 16), step), sign),
                ]
            }
        };
        match S::FIFTH_BITS_AT {
            None => [low, high],
            Some(at) => {
                // Behind the 32 bits the quants begin, so there are 16 bytes to read.
                let bits = four(block.add(at), step);
                [fifth(low, bits, 0), fifth(high, bits, 2)]
            }
        }
    }
}

/// Adds 16 to each byte whose bit is set: in each row, of the two bytes of bits from the `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn fifth(quants: __m512i, bits: __m512i, first: i8) -> __m512i {
    let (one, two) = (i64::from(first) * SPREAD, i64::from(first + 1) * SPREAD);
    let bytes = _mm512_shuffle_epi8(bits, _mm512_broadcast_i32x4(_mm_set_epi64x(two, one)));
    let set = _mm512_test_epi8_mask(bytes, _mm512_set1_epi64(ONE_BIT_EACH));
    _mm512_mask_add_epi8(quants, set, quants, _mm512_set1_epi8(16))
}

/// 16 bytes of each of four rows.
///
/// # Safety
///
/// The processor has AVX-512F, and 16 bytes can be read at `first` and three times `step` bytes further.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn four(first: *const u8, step: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let row = |row: usize| _mm_loadu_si128(first.add(row * step).cast());
        let rows = _mm512_castsi128_si512(row(0));
        let rows = _mm512_inserti32x4::<1>(rows, row(1));
        let rows = _mm512_inserti32x4::<2>(rows, row(2));
        _mm512_inserti32x4::<3>(rows, row(3))
    }
}

/// What quants are multiplied by and what is added to each weight, for the blocks of 16 rows that lie `stride`
/// bytes apart.
///
/// # Safety
///
/// The processor has AVX-512F, and there are such blocks.
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn scales<S: Stored>(block: *const u8, stride: usize) -> (Numbers, Numbers) {
    // SAFETY: every block is longer than a word.
    let word = |row: usize| unsafe { block.add(row * stride).cast::<i32>().read_unaligned() };
    // One word holds the scale and what stands behind it.
    let words = _mm512_setr_epi32(
        word(0),
        word(1),
        word(2),
        word(3),
        word(4),
        word(5),
        word(6),
        word(7),
        word(8),
        word(9),
        word(10),
        word(11),
        word(12),
        word(13),
        word(14),
        word(15),
    );
    let scales = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
    let mins = match S::SCALE {
        Scale::Offset(offset) => _mm512_mul_ps(scales, _mm512_set1_ps(-offset)),
        Scale::Min => _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(words))),
    };
    (scales, mins)
}

/// The sums of products of 16 rows' blocks with 32 activations: `rows[j]` holds the quants of the rows `j`,
/// `j + 4`, `j + 8` and `j + 12`.
///
/// # Safety
///
/// The processor has AVX-512 VNNI, and 32 bytes can be read at `activations`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub unsafe fn sums(rows: &[[Integers; 2]; 4], activations: *const i8) -> Integers {
    // SAFETY: the caller's promise.
    let (low, high) = unsafe {
        let at = activations.cast::<__m128i>();
        (
            _mm512_broadcast_i32x4(_mm_loadu_si128(at)),
            _mm512_broadcast_i32x4(_mm_loadu_si128(at.add(1))),
        )
    };
    // Four parts of a sum for each row, side by side.
    let parts = |[first, second]: [__m512i; 2]| {
        let begun = _mm512_dpbusd_epi32(_mm512_setzero_si512(), first, low);
        _mm512_dpbusd_epi32(begun, second, high)
    };
    let [a, b, c, d] = *rows;
    let (a, b, c, d) = (parts(a), parts(b), parts(c), parts(d));
    // Half of the parts of `a` and `b` in turn, then the other half.
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
}

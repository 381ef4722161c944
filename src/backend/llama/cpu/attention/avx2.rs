//! Vectors of eight numbers.

use std::arch::x86_64::*;

pub use super::super::avx2::{Numbers, store, zero};

/// Numbers of a vector.
pub const LANES: usize = 8;

/// A power of two that is zero.
pub const LOWEST: f32 = -127.0;

/// Vectors of a row that are summed together.
pub const WIDE: usize = 2;

/// A number in every place.
#[inline]
#[target_feature(enable = "avx2")]
pub fn splat(number: f32) -> Numbers {
    _mm256_set1_ps(number)
}

/// Reads a vector.
///
/// # Safety
///
/// The processor has AVX2, and eight numbers can be read there.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn load(at: *const f32) -> Numbers {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_ps(at) }
}

/// `a × b + c`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn multiply_add(a: Numbers, b: Numbers, c: Numbers) -> Numbers {
    _mm256_fmadd_ps(a, b, c)
}

/// `a - b`.
#[inline]
#[target_feature(enable = "avx2")]
pub fn minus(a: Numbers, b: Numbers) -> Numbers {
    _mm256_sub_ps(a, b)
}

/// `a + b`.
#[inline]
#[target_feature(enable = "avx2")]
pub fn plus(a: Numbers, b: Numbers) -> Numbers {
    _mm256_add_ps(a, b)
}

/// The larger of each two; where one is no number, that of `b`.
#[inline]
#[target_feature(enable = "avx2")]
pub fn larger(a: Numbers, b: Numbers) -> Numbers {
    _mm256_max_ps(a, b)
}

/// The largest.
#[inline]
#[target_feature(enable = "avx2")]
pub fn largest(numbers: Numbers) -> f32 {
    let four = _mm_max_ps(
        _mm256_castps256_ps128(numbers),
        _mm256_extractf128_ps::<1>(numbers),
    );
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

/// The sum.
#[inline]
#[target_feature(enable = "avx2")]
pub fn sum(numbers: Numbers) -> f32 {
    let four = _mm_add_ps(
        _mm256_castps256_ps128(numbers),
        _mm256_extractf128_ps::<1>(numbers),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// Numbers whose bit is set, and minus infinity for the others.
#[inline]
#[target_feature(enable = "avx2")]
pub fn seen(numbers: Numbers, bits: u64) -> Numbers {
    let each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    let set = _mm256_and_si256(_mm256_set1_epi32(bits as i32), each);
    let set = _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, each));
    _mm256_blendv_ps(_mm256_set1_ps(f32::NEG_INFINITY), numbers, set)
}

/// `numbers × 2^whole`, for whole numbers from [`LOWEST`], which gives zero, to 0.
#[inline]
#[target_feature(enable = "avx2")]
pub fn power(numbers: Numbers, whole: Numbers) -> Numbers {
    let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127));
    let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
    _mm256_mul_ps(numbers, power)
}

/// The nearest whole numbers.
#[inline]
#[target_feature(enable = "avx2")]
pub fn nearest(numbers: Numbers) -> Numbers {
    _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(numbers)
}

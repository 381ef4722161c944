//! Vectors of 16 numbers.

use std::arch::x86_64::*;

pub use super::super::avx512::{Numbers, store, zero};

/// Numbers of a vector.
pub const LANES: usize = 16;

/// A power of two that is zero.
pub const LOWEST: f32 = -160.0;

/// Vectors of a row that are summed together.
pub const WIDE: usize = 4;

/// A number in every place.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn splat(number: f32) -> Numbers {
    _mm512_set1_ps(number)
}

/// Reads a vector.
///
/// # Safety
///
/// The processor has AVX-512F, and 16 numbers can be read there.
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn load(at: *const f32) -> Numbers {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_ps(at) }
}

/// `a × b + c`.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn multiply_add(a: Numbers, b: Numbers, c: Numbers) -> Numbers {
    _mm512_fmadd_ps(a, b, c)
}

/// `a - b`.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn minus(a: Numbers, b: Numbers) -> Numbers {
    _mm512_sub_ps(a, b)
}

/// `a + b`.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn plus(a: Numbers, b: Numbers) -> Numbers {
    _mm512_add_ps(a, b)
}

/// The larger of each two; where one is no number, that of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn larger(a: Numbers, b: Numbers) -> Numbers {
    _mm512_max_ps(a, b)
}

/// The largest.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn largest(numbers: Numbers) -> f32 {
    _mm512_reduce_max_ps(numbers)
}

/// The sum.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn sum(numbers: Numbers) -> f32 {
    _mm512_reduce_add_ps(numbers)
}

/// Numbers whose bit is set, and minus infinity for the others.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn seen(numbers: Numbers, bits: u64) -> Numbers {
    _mm512_mask_mov_ps(_mm512_set1_ps(f32::NEG_INFINITY), bits as u16, numbers)
}

/// `numbers × 2^whole`, for whole numbers from [`LOWEST`], which gives zero, to 0.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn power(numbers: Numbers, whole: Numbers) -> Numbers {
    _mm512_scalef_ps(numbers, whole)
}

/// The nearest whole numbers.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn nearest(numbers: Numbers) -> Numbers {
    _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(numbers)
}

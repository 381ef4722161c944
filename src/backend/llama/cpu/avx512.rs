//! Vectors of 16 numbers, as attention and products both use them.

use std::arch::x86_64::*;

/// A vector.
pub type Numbers = __m512;

/// Zeros.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn zero() -> Numbers {
    _mm512_setzero_ps()
}

/// Writes a vector.
///
/// # Safety
///
/// The processor has AVX-512F, and 16 numbers can be written there.
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn store(numbers: Numbers, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe { _mm512_storeu_ps(to, numbers) }
}

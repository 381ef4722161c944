//! Vectors of eight numbers, as attention and products both use them.

use std::arch::x86_64::*;

/// A vector.
pub type Numbers = __m256;

/// Zeros.
#[inline]
#[target_feature(enable = "avx2")]
pub fn zero() -> Numbers {
    _mm256_setzero_ps()
}

/// Writes a vector.
///
/// # Safety
///
/// The processor has AVX2, and eight numbers can be written there.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn store(numbers: Numbers, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe { _mm256_storeu_ps(to, numbers) }
}

//! The block formats of GGUF that the kernels read: how quants and scales lie in a file.
//!
//! The layouts are those of `ggml-common.h`; the tests compare each with ggml's own dequantisation.

use super::panel::{BLOCK, Scaling};

/// A block format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 8] =
        [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Q4K, Self::Q5K, Self::Q6K];

    /// ggml's number of the format.
    pub const fn ggml_type(self) -> u32 {
        match self {
            Self::Q4_0 => llama_cpp_sys_2::GGML_TYPE_Q4_0,
            Self::Q4_1 => llama_cpp_sys_2::GGML_TYPE_Q4_1,
            Self::Q5_0 => llama_cpp_sys_2::GGML_TYPE_Q5_0,
            Self::Q5_1 => llama_cpp_sys_2::GGML_TYPE_Q5_1,
            Self::Q8_0 => llama_cpp_sys_2::GGML_TYPE_Q8_0,
            Self::Q4K => llama_cpp_sys_2::GGML_TYPE_Q4_K,
            Self::Q5K => llama_cpp_sys_2::GGML_TYPE_Q5_K,
            Self::Q6K => llama_cpp_sys_2::GGML_TYPE_Q6_K,
        }
    }

    /// The format with ggml's number.
    pub fn of(ggml_type: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.ggml_type() == ggml_type)
    }

    /// Weights of a stored block.
    pub const fn weights(self) -> usize {
        match self {
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
            _ => 32,
        }
    }

    /// The largest quant, as the panel holds it.
    pub const fn largest(self) -> u8 {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => 15,
            Self::Q5_0 | Self::Q5_1 | Self::Q5K => 31,
            Self::Q6K => 63,
            Self::Q8_0 => 255,
        }
    }

    /// Whether each 16 weights have a scale of their own.
    pub const fn halves(self) -> bool {
        matches!(self, Self::Q6K)
    }
}

/// How a format stores its blocks.
pub trait Stored {
    /// Weights of a stored block.
    const WEIGHTS: usize = BLOCK;
    /// Bytes of a stored block.
    const BYTES: usize;
    /// Whether each 16 weights have a scale of their own.
    const HALVES: bool = false;
    /// Where the 16 bytes of quants lie, in formats that keep quants 0 to 15 in the low halves of bytes and
    /// quants 16 to 31 in the high ones, and nothing else.
    const NIBBLES_AT: Option<usize> = None;

    /// Writes 32 quants, made non-negative, of part `part` of a block.
    ///
    /// # Safety
    ///
    /// `block` points at `BYTES` bytes, and `part < WEIGHTS / 32`.
    unsafe fn quants(block: *const u8, part: usize, out: &mut [u8; BLOCK]);

    /// The scales of that part.
    ///
    /// # Safety
    ///
    /// As for [`Stored::quants`].
    unsafe fn scaling(block: *const u8, part: usize) -> Scaling;
}

/// The half at `at`.
///
/// # Safety
///
/// Two bytes can be read there.
#[inline(always)]
unsafe fn half(block: *const u8, at: usize) -> u16 {
    // SAFETY: the caller's promise.
    unsafe { block.add(at).cast::<u16>().read_unaligned() }
}

/// `N` bytes at `at`.
///
/// # Safety
///
/// They can be read.
#[inline(always)]
unsafe fn bytes<'a, const N: usize>(block: *const u8, at: usize) -> &'a [u8; N] {
    // SAFETY: the caller's promise.
    unsafe { &*block.add(at).cast::<[u8; N]>() }
}

/// Quants that stand for `q - offset`: the min is so many scales below zero.
const fn offset_by(scale: u16, offset: f32) -> Scaling {
    Scaling { scale, min: scale, scale_factors: [1.0; 2], min_factors: [-offset; 2] }
}

/// Quants with a scale and a min.
const fn scale_and_min(scale: u16, min: u16) -> Scaling {
    Scaling { scale, min, scale_factors: [1.0; 2], min_factors: [1.0; 2] }
}

/// Low and high halves of 16 bytes, each with a fifth bit.
#[inline(always)]
fn five_bits(low: &[u8; 16], fifth: u32, out: &mut [u8; BLOCK]) {
    for (i, byte) in low.iter().enumerate() {
        out[i] = byte & 15;
        out[i + 16] = byte >> 4;
    }
    for (i, quant) in out.iter_mut().enumerate() {
        *quant |= ((fifth >> i & 1) as u8) << 4;
    }
}

/// Scale and min, six bits each, of part `part` of a block of `Q4_K` or `Q5_K`.
#[inline(always)]
fn six_bits(packed: &[u8; 12], part: usize) -> (u8, u8) {
    if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        (
            packed[part + 4] & 15 | packed[part - 4] >> 6 << 4,
            packed[part + 4] >> 4 | packed[part] >> 6 << 4,
        )
    }
}

/// Scales of `Q4_K` and `Q5_K`: two halves, then six bits for each part.
///
/// # Safety
///
/// 16 bytes can be read.
#[inline(always)]
unsafe fn k_scaling(block: *const u8, part: usize) -> Scaling {
    // SAFETY: the caller's promise.
    unsafe {
        let (scale, min) = six_bits(bytes(block, 4), part);
        Scaling {
            scale: half(block, 0),
            min: half(block, 2),
            scale_factors: [f32::from(scale); 2],
            min_factors: [-f32::from(min); 2],
        }
    }
}

/// `half scale, 16 bytes`.
pub struct Q4_0;
/// `half scale, half min, 16 bytes`.
pub struct Q4_1;
/// `half scale, 32 fifth bits, 16 bytes`.
pub struct Q5_0;
/// `half scale, half min, 32 fifth bits, 16 bytes`.
pub struct Q5_1;
/// `half scale, 32 signed bytes`.
pub struct Q8_0;
/// `half scale, half min, 12 bytes of scales, 128 bytes`.
pub struct Q4K;
/// `half scale, half min, 12 bytes of scales, 32 bytes of fifth bits, 128 bytes`.
pub struct Q5K;
/// `128 bytes of low bits, 64 bytes of high bits, 16 signed scales, half scale`.
pub struct Q6K;

impl Stored for Q4_0 {
    const BYTES: usize = 18;
    const NIBBLES_AT: Option<usize> = Some(2);

    #[inline(always)]
    unsafe fn quants(block: *const u8, _part: usize, out: &mut [u8; BLOCK]) {
        // SAFETY: the caller's promise.
        five_bits(unsafe { bytes(block, 2) }, 0, out);
    }

    #[inline(always)]
    unsafe fn scaling(block: *const u8, _part: usize) -> Scaling {
        // SAFETY: the caller's promise.
        offset_by(unsafe { half(block, 0) }, 8.0)
    }
}

impl Stored for Q4_1 {
    const BYTES: usize = 20;
    const NIBBLES_AT: Option<usize> = Some(4);

    #[inline(always)]
    unsafe fn quants(block: *const u8, _part: usize, out: &mut [u8; BLOCK]) {
        // SAFETY: the caller's promise.
        five_bits(unsafe { bytes(block, 4) }, 0, out);
    }

    #[inline(always)]
    unsafe fn scaling(block: *const u8, _part: usize) -> Scaling {
        // SAFETY: the caller's promise.
        unsafe { scale_and_min(half(block, 0), half(block, 2)) }
    }
}

impl Stored for Q5_0 {
    const BYTES: usize = 22;

    #[inline(always)]
    unsafe fn quants(block: *const u8, _part: usize, out: &mut [u8; BLOCK]) {
        // SAFETY: the caller's promise.
        unsafe { five_bits(bytes(block, 6), u32::from_le_bytes(*bytes(block, 2)), out) }
    }

    #[inline(always)]
    unsafe fn scaling(block: *const u8, _part: usize) -> Scaling {
        // SAFETY: the caller's promise.
        offset_by(unsafe { half(block, 0) }, 16.0)
    }
}

impl Stored for Q5_1 {
    const BYTES: usize = 24;

    #[inline(always)]
    unsafe fn quants(block: *const u8, _part: usize, out: &mut [u8; BLOCK]) {
        // SAFETY: the caller's promise.
        unsafe { five_bits(bytes(block, 8), u32::from_le_bytes(*bytes(block, 4)), out) }
    }

    #[inline(always)]
    unsafe fn scaling(block: *const u8, _part: usize) -> Scaling {
        // SAFETY: the caller's promise.
        unsafe { scale_and_min(half(block, 0), half(block, 2)) }
    }
}

impl Stored for Q8_0 {
    const BYTES: usize = 34;

    #[inline(always)]
    unsafe fn quants(block: *const u8, _part: usize, out: &mut [u8; BLOCK]) {
        // SAFETY: the caller's promise.
        *out = unsafe { bytes::<BLOCK>(block, 2) }.map(|byte| byte ^ 0x80);
    }

    #[inline(always)]
    unsafe fn scaling(block: *const u8, _part: usize) -> Scaling {
        // SAFETY: the caller's promise.
        offset_by(unsafe { half(block, 0) }, 128.0)
    }
}

impl Stored for Q4K {
    const WEIGHTS: usize = 256;
    const BYTES: usize = 144;

    #[inline(always)]
    unsafe fn quants(block: *const u8, part: usize, out: &mut [u8; BLOCK]) {
        // SAFETY: the caller's promise.
        let packed: &[u8; BLOCK] = unsafe { bytes(block, 16 + part / 2 * BLOCK) };
        *out = packed.map(|byte| byte >> (part % 2 * 4) & 15);
    }

    #[inline(always)]
    unsafe fn scaling(block: *const u8, part: usize) -> Scaling {
        // SAFETY: the caller's promise.
        unsafe { k_scaling(block, part) }
    }
}

impl Stored for Q5K {
    const WEIGHTS: usize = 256;
    const BYTES: usize = 176;

    #[inline(always)]
    unsafe fn quants(block: *const u8, part: usize, out: &mut [u8; BLOCK]) {
        // SAFETY: the caller's promise.
        let (fifth, packed): (&[u8; BLOCK], &[u8; BLOCK]) =
            unsafe { (bytes(block, 16), bytes(block, 48 + part / 2 * BLOCK)) };
        for (i, quant) in out.iter_mut().enumerate() {
            *quant = packed[i] >> (part % 2 * 4) & 15 | (fifth[i] >> part & 1) << 4;
        }
    }

    #[inline(always)]
    unsafe fn scaling(block: *const u8, part: usize) -> Scaling {
        // SAFETY: the caller's promise.
        unsafe { k_scaling(block, part) }
    }
}

impl Stored for Q6K {
    const WEIGHTS: usize = 256;
    const BYTES: usize = 210;
    const HALVES: bool = true;

    #[inline(always)]
    unsafe fn quants(block: *const u8, part: usize, out: &mut [u8; BLOCK]) {
        let (chunk, quarter) = (part / 4, part % 4);
        // SAFETY: the caller's promise.
        let (low, high): (&[u8; BLOCK], &[u8; BLOCK]) = unsafe {
            (bytes(block, 64 * chunk + 32 * (quarter % 2)), bytes(block, 128 + 32 * chunk))
        };
        for (i, quant) in out.iter_mut().enumerate() {
            *quant = low[i] >> (quarter / 2 * 4) & 15 | (high[i] >> (2 * quarter) & 3) << 4;
        }
    }

    #[inline(always)]
    unsafe fn scaling(block: *const u8, part: usize) -> Scaling {
        // SAFETY: the caller's promise.
        let (scale, scales) = unsafe { (half(block, 208), bytes::<2>(block, 192 + 2 * part)) };
        let factors = scales.map(|scale| f32::from(scale as i8));
        Scaling { scale, min: scale, scale_factors: factors, min_factors: factors.map(|factor| -32.0 * factor) }
    }
}

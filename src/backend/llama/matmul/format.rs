//! The block formats of GGUF that the kernels read: how quants and scales lie in a file.
//!
//! The layouts are those of `ggml-common.h`; the tests compare each with ggml's own dequantisation.

use super::panel::BLOCK;

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
    pub const ALL: [Self; 8] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

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
        Self::ALL
            .into_iter()
            .find(|format| format.ggml_type() == ggml_type)
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

/// Where quants are found in a block: those of 16 weights lie in 16 bytes, several in one byte at different
/// shifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first byte.
    pub at: usize,
    /// How far a byte is shifted to the right.
    pub shift: u32,
}

/// How the quants of a block become weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scales {
    /// A half at the start scales them, after this is taken away.
    Offset(f32),
    /// A half at the start scales them, and one behind it is added.
    Min,
    /// Two halves at the start; with them 12 bytes that hold six bits a part, for scale and for min taken away.
    SixBits,
    /// A half at 208 and a signed byte for each 16 weights from 192; 32 is taken away before.
    SignedBytes,
}

/// How a format stores its blocks.
pub trait Stored {
    /// Weights of a stored block.
    const WEIGHTS: usize = BLOCK;
    /// Bytes of a stored block.
    const BYTES: usize;
    /// How quants become weights.
    const SCALES: Scales;
    /// Which bits of a shifted byte are the low bits of a quant.
    const LOW_BITS: u8 = 15;
    /// Which bits of a shifted byte are those above the low ones; they begin at 16.
    const HIGH_BITS: u8 = 0;
    /// What a quant is combined with, bit by bit, to make it non-negative.
    const FLIP: u8 = 0;
    /// Where a bit for each of 32 weights lies that is worth 16, in formats that keep such bits in one word.
    const FIFTH_BITS_AT: Option<usize> = None;

    /// Low bits of weights `16 half..16 half + 16` of part `part` of a block.
    fn low(part: usize, half: usize) -> Place;

    /// Their high bits, in formats with [`Stored::HIGH_BITS`].
    fn high(part: usize, half: usize) -> Place {
        Self::low(part, half)
    }
}

/// Quants 0 to 15 in the low halves of 16 bytes from `at`, 16 to 31 in the high ones.
const fn nibbles(at: usize, half: usize) -> Place {
    Place {
        at,
        shift: 4 * half as u32,
    }
}

/// Quants of two parts in 32 bytes, from `at` for the first two parts.
const fn paired(at: usize, part: usize, half: usize) -> Place {
    Place {
        at: at + part / 2 * BLOCK + 16 * half,
        shift: 4 * (part % 2) as u32,
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
    const SCALES: Scales = Scales::Offset(8.0);

    fn low(_part: usize, half: usize) -> Place {
        nibbles(2, half)
    }
}

impl Stored for Q4_1 {
    const BYTES: usize = 20;
    const SCALES: Scales = Scales::Min;

    fn low(_part: usize, half: usize) -> Place {
        nibbles(4, half)
    }
}

impl Stored for Q5_0 {
    const BYTES: usize = 22;
    const SCALES: Scales = Scales::Offset(16.0);
    const FIFTH_BITS_AT: Option<usize> = Some(2);

    fn low(_part: usize, half: usize) -> Place {
        nibbles(6, half)
    }
}

impl Stored for Q5_1 {
    const BYTES: usize = 24;
    const SCALES: Scales = Scales::Min;
    const FIFTH_BITS_AT: Option<usize> = Some(4);

    fn low(_part: usize, half: usize) -> Place {
        nibbles(8, half)
    }
}

impl Stored for Q8_0 {
    const BYTES: usize = 34;
    const SCALES: Scales = Scales::Offset(128.0);
    const LOW_BITS: u8 = 255;
    const FLIP: u8 = 128;

    fn low(_part: usize, half: usize) -> Place {
        Place {
            at: 2 + 16 * half,
            shift: 0,
        }
    }
}

impl Stored for Q4K {
    const WEIGHTS: usize = 256;
    const BYTES: usize = 144;
    const SCALES: Scales = Scales::SixBits;

    fn low(part: usize, half: usize) -> Place {
        paired(16, part, half)
    }
}

impl Stored for Q5K {
    const WEIGHTS: usize = 256;
    const BYTES: usize = 176;
    const SCALES: Scales = Scales::SixBits;
    const HIGH_BITS: u8 = 1;

    fn low(part: usize, half: usize) -> Place {
        paired(48, part, half)
    }

    fn high(part: usize, half: usize) -> Place {
        Place {
            at: 16 + 16 * half,
            shift: part as u32,
        }
    }
}

impl Stored for Q6K {
    const WEIGHTS: usize = 256;
    const BYTES: usize = 210;
    const SCALES: Scales = Scales::SignedBytes;
    const HIGH_BITS: u8 = 3;

    fn low(part: usize, half: usize) -> Place {
        let (chunk, quarter) = (part / 4, part % 4);
        Place {
            at: 64 * chunk + 32 * (quarter % 2) + 16 * half,
            shift: 4 * (quarter / 2) as u32,
        }
    }

    fn high(part: usize, half: usize) -> Place {
        Place {
            at: 128 + part / 4 * 32 + 16 * half,
            shift: 2 * (part % 4) as u32,
        }
    }
}

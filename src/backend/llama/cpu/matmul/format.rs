//! The block formats of GGUF that the kernels read: how 32 weights lie in a file.
//!
//! These are the formats for which llama.cpp has no product that unpacks weights once for many tokens. The layouts are
//! those of `ggml-common.h`; the tests compare each with ggml's own dequantisation.

use llama_cpp_sys_2::ggml_type;

/// A block format. A block is 32 weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `half scale, 16 bytes of two quants`.
    Q4_0,
    /// `half scale, half min, 16 bytes of two quants`.
    Q4_1,
    /// `half scale, 32 fifth bits, 16 bytes of two quants`.
    Q5_0,
    /// `half scale, half min, 32 fifth bits, 16 bytes of two quants`.
    Q5_1,
    /// `half scale, 32 signed bytes`.
    Q8_0,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0];

    /// ggml's number of the format.
    pub const fn ggml_type(self) -> ggml_type {
        match self {
            Self::Q4_0 => llama_cpp_sys_2::GGML_TYPE_Q4_0,
            Self::Q4_1 => llama_cpp_sys_2::GGML_TYPE_Q4_1,
            Self::Q5_0 => llama_cpp_sys_2::GGML_TYPE_Q5_0,
            Self::Q5_1 => llama_cpp_sys_2::GGML_TYPE_Q5_1,
            Self::Q8_0 => llama_cpp_sys_2::GGML_TYPE_Q8_0,
        }
    }

    /// The format with ggml's number.
    pub fn of(number: ggml_type) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.ggml_type() == number)
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => Q4_0::BYTES,
            Self::Q4_1 => Q4_1::BYTES,
            Self::Q5_0 => Q5_0::BYTES,
            Self::Q5_1 => Q5_1::BYTES,
            Self::Q8_0 => Q8_0::BYTES,
        }
    }

    /// The largest quant, as the panel holds it.
    pub const fn largest(self) -> u8 {
        match self {
            Self::Q4_0 | Self::Q4_1 => 15,
            Self::Q5_0 | Self::Q5_1 => 31,
            Self::Q8_0 => 255,
        }
    }
}

/// Where the quants of a block lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quants {
    /// In 16 bytes from here: quants 0 to 15 in the low halves, 16 to 31 in the high ones.
    Nibbles(usize),
    /// In 32 signed bytes from here.
    Bytes(usize),
}

/// How quants become weights: a half at the start of the block scales them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// This is taken away from them before.
    Offset(f32),
    /// A half behind the scale is added.
    Min,
}

/// How a format stores a block.
pub trait Stored {
    /// Bytes of a block.
    const BYTES: usize;
    /// Where quants lie.
    const QUANTS: Quants;
    /// How they become weights.
    const SCALE: Scale;
    /// Where a word lies that holds for each weight a bit worth 16.
    const FIFTH_BITS_AT: Option<usize> = None;
}

/// [`Format::Q4_0`].
pub struct Q4_0;
/// [`Format::Q4_1`].
pub struct Q4_1;
/// [`Format::Q5_0`].
pub struct Q5_0;
/// [`Format::Q5_1`].
pub struct Q5_1;
/// [`Format::Q8_0`].
pub struct Q8_0;

impl Stored for Q4_0 {
    const BYTES: usize = 18;
    const QUANTS: Quants = Quants::Nibbles(2);
    const SCALE: Scale = Scale::Offset(8.0);
}

impl Stored for Q4_1 {
    const BYTES: usize = 20;
    const QUANTS: Quants = Quants::Nibbles(4);
    const SCALE: Scale = Scale::Min;
}

impl Stored for Q5_0 {
    const BYTES: usize = 22;
    const QUANTS: Quants = Quants::Nibbles(6);
    const SCALE: Scale = Scale::Offset(16.0);
    const FIFTH_BITS_AT: Option<usize> = Some(2);
}

impl Stored for Q5_1 {
    const BYTES: usize = 24;
    const QUANTS: Quants = Quants::Nibbles(8);
    const SCALE: Scale = Scale::Min;
    const FIFTH_BITS_AT: Option<usize> = Some(4);
}

impl Stored for Q8_0 {
    const BYTES: usize = 34;
    const QUANTS: Quants = Quants::Bytes(2);
    const SCALE: Scale = Scale::Offset(128.0);
}

/// A number in each of eight bytes, as a factor.
pub const SPREAD: i64 = 0x0101_0101_0101_0101;

/// Bit `i` in byte `i` of eight.
pub const ONE_BIT_EACH: i64 = 0x8040_2010_0804_0201_u64.cast_signed();

//! Reads the header of a GGUF file: metadata and the list of tensors, never the weights.
//!
//! Every length in the file is a claim. Nothing is allocated from a claim: a length is compared with
//! what is left of the file first, long values are skipped, and what is kept is bounded.

use std::collections::BTreeMap;
use std::io::{self, BufRead, ErrorKind, Seek};

use super::types::{self, TensorType};
use super::weights::Weights;

/// A metadata string longer than this is counted, not kept. The longest chat templates known have
/// about 50 kB.
const MAX_TEXT: u64 = 1 << 20;
/// All kept keys and strings together.
const MAX_KEPT: u64 = 16 << 20;
/// The format's own limit for keys.
const MAX_KEY: u64 = 65_535;
/// A tensor's name longer than this says nothing; llama.cpp's have less than 64.
const MAX_NAME: u64 = 256;
/// Entries of the metadata; models have less than a hundred.
const MAX_ENTRIES: u64 = 1 << 16;
/// Integer arrays up to this length are read for their largest value (such as heads per layer).
const MAX_SCANNED: u64 = 4096;
/// Arrays within arrays.
const MAX_DEPTH: u32 = 4;

/// Why a header cannot be read.
#[derive(Debug)]
pub(super) enum HeaderError {
    /// The file does not begin with `GGUF`.
    Magic,
    /// A version of the format that cannot be read.
    Version(u32),
    /// The file ends within its header.
    Truncated,
    /// The header contradicts the format.
    Malformed(String),
    /// Reading failed.
    Io(io::Error),
}

/// A metadata value, as far as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// A string that was too long to keep.
    LongText,
    /// Elements, and the largest one where they are integers and few.
    Array {
        count: u64,
        max: Option<u64>,
    },
}

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    pub version: u32,
    pub metadata: BTreeMap<String, Value>,
    pub tensors: u64,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Size that the file must have at least, in bytes.
    pub expected_len: u64,
    /// The tensor type that takes most bytes.
    pub main_type: Option<&'static str>,
    /// Bytes of the tensors by what they are for.
    pub weights: Weights,
}

impl Header {
    /// A whole number; of an array, its largest.
    pub(super) fn unsigned(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            Value::Unsigned(n) => Some(*n),
            Value::Signed(n) => u64::try_from(*n).ok(),
            Value::Array { max, .. } => *max,
            _ => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a header from the start of `input`, a file of `len` bytes.
pub(super) fn read<R: BufRead + Seek>(input: R, len: u64) -> Result<Header, HeaderError> {
    let mut reader = Reader {
        input,
        at: 0,
        len,
        kept: 0,
    };
    if len < 4 || reader.bytes::<4>()? != *b"GGUF" {
        return Err(HeaderError::Magic);
    }
    let version = reader.u32()?;
    if version != 2 && version != 3 {
        return Err(HeaderError::Version(version));
    }
    let tensors = reader.u64()?;
    let entries = reader.u64()?;
    if entries > MAX_ENTRIES {
        return Err(malformed(format!("it claims {entries} metadata entries")));
    }
    let mut metadata = BTreeMap::new();
    for index in 0..entries {
        let key = reader.key(index)?;
        let value = reader.entry(&key)?;
        metadata.insert(key, value);
    }
    let alignment = alignment(&metadata)?;
    let totals = reader.tensors(tensors)?;
    // Offsets count from the first aligned byte behind the header.
    let expected_len = if tensors == 0 {
        Some(reader.at)
    } else {
        let start = reader.at.checked_next_multiple_of(alignment);
        start.and_then(|start| start.checked_add(totals.data_len))
    };
    let expected_len =
        expected_len.ok_or_else(|| malformed("its tensors are larger than any file".to_owned()))?;
    let main_type = totals
        .bytes_of
        .iter()
        .max_by_key(|(_, bytes)| **bytes)
        .map(|(name, _)| *name);
    Ok(Header {
        version,
        metadata,
        tensors,
        parameters: totals.parameters,
        expected_len,
        main_type,
        weights: totals.weights,
    })
}

fn malformed(detail: String) -> HeaderError {
    HeaderError::Malformed(detail)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, HeaderError> {
    match metadata.get("general.alignment") {
        None => Ok(32),
        Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= u64::from(u32::MAX) => Ok(*n),
        Some(_) => Err(malformed(
            "`general.alignment` is not a power of two".to_owned(),
        )),
    }
}

/// Sums over the tensors.
#[derive(Default)]
struct Totals {
    parameters: u64,
    data_len: u64,
    bytes_of: BTreeMap<&'static str, u64>,
    weights: Weights,
}

struct Reader<R> {
    input: R,
    at: u64,
    len: u64,
    kept: u64,
}

impl<R: BufRead + Seek> Reader<R> {
    fn left(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), HeaderError> {
        let wanted = buffer.len() as u64;
        if wanted > self.left() {
            return Err(HeaderError::Truncated);
        }
        self.input.read_exact(buffer).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => HeaderError::Truncated,
            _ => HeaderError::Io(e),
        })?;
        self.at += wanted;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<(), HeaderError> {
        if count > self.left() {
            return Err(HeaderError::Truncated);
        }
        let step = i64::try_from(count).map_err(|_| HeaderError::Truncated)?;
        self.input.seek_relative(step).map_err(HeaderError::Io)?;
        self.at += count;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, HeaderError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, HeaderError> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A string, or `None` when it is too long to keep.
    fn text(&mut self, limit: u64) -> Result<Option<String>, HeaderError> {
        let length = self.u64()?;
        if length > self.left() {
            return Err(HeaderError::Truncated);
        }
        if length > limit || self.kept + length > MAX_KEPT {
            self.skip(length)?;
            return Ok(None);
        }
        self.kept += length;
        // At most `limit` bytes, and the file has as many.
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn key(&mut self, index: u64) -> Result<String, HeaderError> {
        self.text(MAX_KEY)?
            .ok_or_else(|| malformed(format!("the key of metadata entry {index} is too long")))
    }

    fn entry(&mut self, key: &str) -> Result<Value, HeaderError> {
        let kind = self.u32()?;
        if kind == 9 {
            return self.array(key, 0);
        }
        self.scalar(kind, key)
    }

    fn scalar(&mut self, kind: u32, key: &str) -> Result<Value, HeaderError> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.bytes::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.bytes()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.bytes()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.bytes()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            7 => Value::Bool(self.bytes::<1>()?[0] != 0),
            8 => self.text(MAX_TEXT)?.map_or(Value::LongText, Value::Text),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            _ => {
                return Err(malformed(format!(
                    "metadata `{}` has the unknown type {kind}",
                    clip(key)
                )));
            }
        })
    }

    fn array(&mut self, key: &str, depth: u32) -> Result<Value, HeaderError> {
        let kind = self.u32()?;
        let count = self.u64()?;
        let width: u64 = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            // Each string has a length before it, each inner array a type and a length.
            8 => 8,
            9 => 12,
            _ => 0,
        };
        let least = count.checked_mul(width).ok_or(HeaderError::Truncated)?;
        if least > self.left() {
            return Err(HeaderError::Truncated);
        }
        let mut max = None;
        match kind {
            8 => {
                for _ in 0..count {
                    let length = self.u64()?;
                    self.skip(length)?;
                }
            }
            9 if depth < MAX_DEPTH => {
                for _ in 0..count {
                    self.array(key, depth + 1)?;
                }
            }
            0..=5 | 10 | 11 if count <= MAX_SCANNED => {
                for _ in 0..count {
                    let value = match self.scalar(kind, key)? {
                        Value::Unsigned(n) => Some(n),
                        Value::Signed(n) => u64::try_from(n).ok(),
                        _ => None,
                    };
                    max = max.max(value);
                }
            }
            0..=7 | 10..=12 => self.skip(least)?,
            _ => {
                return Err(malformed(format!(
                    "array `{}` has the unknown element type {kind}",
                    clip(key)
                )));
            }
        }
        Ok(Value::Array { count, max })
    }

    fn tensors(&mut self, count: u64) -> Result<Totals, HeaderError> {
        // Name length, dimensions, type and offset take at least this.
        if count
            .checked_mul(24)
            .is_none_or(|least| least > self.left())
        {
            return Err(HeaderError::Truncated);
        }
        let mut totals = Totals::default();
        for index in 0..count {
            self.tensor(index, &mut totals)?;
        }
        Ok(totals)
    }

    fn tensor(&mut self, index: u64, totals: &mut Totals) -> Result<(), HeaderError> {
        let name = self.text(MAX_NAME)?.unwrap_or_default();
        let dimensions = self.u32()?;
        if dimensions > 4 {
            return Err(malformed(format!(
                "tensor {index} has {dimensions} dimensions"
            )));
        }
        let mut elements: u64 = 1;
        let mut row = 1;
        for dimension in 0..dimensions {
            let size = self.u64()?;
            if dimension == 0 {
                row = size;
            }
            elements = elements
                .checked_mul(size)
                .ok_or_else(|| malformed(format!("tensor {index} has an impossible size")))?;
        }
        let kind = self.u32()?;
        let offset = self.u64()?;
        totals.parameters = totals.parameters.saturating_add(elements);
        // A type made after this program is left to llama.cpp: then only the offset is known.
        let bytes = match types::tensor_type(kind) {
            None => 0,
            Some(TensorType {
                name: format,
                block,
                bytes,
            }) => {
                if row % block != 0 {
                    return Err(malformed(format!(
                        "tensor {index} has rows of {row}, no multiple of the {block} of {format}"
                    )));
                }
                let total = (elements / block)
                    .checked_mul(bytes)
                    .ok_or_else(|| malformed(format!("tensor {index} has an impossible size")))?;
                let sum = totals.bytes_of.entry(format).or_default();
                *sum = sum.saturating_add(total);
                totals.weights.add(&name, total);
                total
            }
        };
        let end = offset
            .checked_add(bytes)
            .ok_or_else(|| malformed(format!("tensor {index} has an impossible offset")))?;
        totals.data_len = totals.data_len.max(end);
        Ok(())
    }
}

/// A key as it may stand in a message.
fn clip(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_debug).collect()
}

//! What a GGUF file is, read from its header without loading it.
//!
//! This says before llama.cpp is asked whether a file can be used at all, and why not. The format is
//! described in ggml's `docs/gguf.md`.

mod hash;
mod header;
mod kind;
mod types;
mod weights;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::model_ref::split_parts;
use crate::digest::Digest;
use header::{Header, HeaderError, Value};

pub use hash::{digest, digest_with_cache};
pub use kind::template_family;
pub use weights::Weights;

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GgufInfo {
    /// The files that make up the model, in order; one, unless it is split.
    pub parts: Vec<PathBuf>,
    /// Size of all parts together, in bytes.
    pub file_size: u64,
    /// Version of the GGUF format.
    pub gguf_version: u32,
    /// Architecture as llama.cpp names it, such as `llama`.
    pub architecture: String,
    /// The model's name, or the file's where the model has none.
    pub name: String,
    /// Number of weights.
    pub parameters: u64,
    /// Number of tensors.
    pub tensors: u64,
    /// File type, such as `Q4_K_M`; the most used tensor type where the file states none.
    pub quantisation: String,
    /// Context length that the model was trained with, in tokens.
    pub training_context: Option<u64>,
    /// Width of the residual stream.
    pub embedding_length: Option<u64>,
    /// Number of layers.
    pub layers: Option<u64>,
    /// Attention heads; the most of any layer where they differ.
    pub heads: Option<u64>,
    /// Key and value heads; the most of any layer where they differ.
    pub kv_heads: Option<u64>,
    /// Numbers in a key, where the model says so; otherwise the width of a head.
    #[serde(skip)]
    pub key_length: Option<u64>,
    /// Numbers in a value, where the model says so.
    #[serde(skip)]
    pub value_length: Option<u64>,
    /// Number of tokens in the vocabulary.
    pub vocabulary: Option<u64>,
    /// Kind of tokenizer, such as `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub tokenizer: Option<String>,
    /// Token that begins a text.
    pub bos_id: Option<u64>,
    /// Token that ends a text.
    pub eos_id: Option<u64>,
    /// How an embedding model pools; 0 and absent mean that it does not.
    pub pooling_type: Option<u64>,
    /// The chat template's Jinja text.
    #[serde(skip)]
    pub chat_template: Option<String>,
    /// How many bytes the weights have, by what they are for.
    #[serde(skip)]
    pub weights: Weights,
}

impl GgufInfo {
    /// Digest of the chat template's text.
    pub fn chat_template_digest(&self) -> Option<Digest> {
        let text = self.chat_template.as_ref()?;
        Some(Digest::of_bytes(text.as_bytes()))
    }
}

/// Why a file cannot serve as a model.
#[derive(Debug, Error)]
pub enum GgufError {
    /// There is no such file.
    #[error("model file {} does not exist", .0.display())]
    Missing(PathBuf),
    /// A part of a split model is not beside the first one.
    #[error(
        "part {number} of {count} of the split model is missing: {} does not exist; put all parts into one folder, or fetch the model again",
        .path.display()
    )]
    MissingPart {
        /// Where the part would be.
        path: PathBuf,
        /// Which part it is, from 1.
        number: usize,
        /// Number of parts.
        count: u64,
    },
    /// The path is a folder or a device.
    #[error("{} is no file; give the path of a .gguf file", .0.display())]
    NotAFile(PathBuf),
    /// Reading failed.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is of another format.
    #[error("{} is not a GGUF model: {found}", .path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// What it seems to be, and the remedy.
        found: String,
    },
    /// The format has a version that cannot be read.
    #[error("{} has GGUF version {version}; versions 2 and 3 can be read: convert or download it anew", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version stated.
        version: u32,
    },
    /// The file ends early.
    #[error("{} is truncated: {}; download it again", .path.display(), missing(*.size, *.expected))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The size that it should have at least; `None` when it ends within its header.
        expected: Option<u64>,
    },
    /// The header contradicts the format.
    #[error("{} is damaged: {detail}; download it again", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A sound file that does not hold a language model.
    #[error("{} is {what}; amend needs a model that generates text", .path.display())]
    NotGenerative {
        /// The file.
        path: PathBuf,
        /// What it is, with its article.
        what: String,
    },
    /// A part of a split model that is not the first.
    #[error("{} is part {number} of {count} of a split model; give the first part", .path.display())]
    LaterPart {
        /// The file.
        path: PathBuf,
        /// Which part it is, from 1.
        number: u64,
        /// Number of parts.
        count: u64,
    },
}

fn missing(size: u64, expected: Option<u64>) -> String {
    match expected {
        None => format!("it has {size} bytes and ends within its header"),
        Some(expected) => format!(
            "it has {size} bytes of {expected}, {} are missing",
            expected.saturating_sub(size)
        ),
    }
}

/// Reads what a model file is. Weights are not read.
///
/// # Errors
/// When the file is missing, of another format, truncated or damaged, and when it holds something that
/// does not generate text. For a split model the path is that of the first part, and all parts are checked.
pub fn inspect(path: &Path) -> Result<GgufInfo, GgufError> {
    let (header, size) = read_header(path)?;
    kind::refuse_other_kinds(path, &header)?;
    let count = header.unsigned("split.count").unwrap_or(1);
    let number = header.unsigned("split.no").unwrap_or(0);
    if count > 1 && number > 0 {
        return Err(GgufError::LaterPart {
            path: path.to_owned(),
            number: number.saturating_add(1),
            count,
        });
    }
    check_size(path, &header, size)?;
    let mut info = info(path, &header, size);
    if count > 1 {
        add_parts(path, count, &mut info)?;
    }
    Ok(info)
}

/// Adds the other parts of a split model to what its first part says.
fn add_parts(path: &Path, count: u64, info: &mut GgufInfo) -> Result<(), GgufError> {
    let parts = split_parts(path);
    if parts.len() as u64 != count {
        return Err(GgufError::Malformed {
            path: path.to_owned(),
            detail: format!(
                "it is the first of {count} parts, and its name does not end in -00001-of-{count:05}.gguf"
            ),
        });
    }
    for (number, part) in (1..).zip(&parts).skip(1) {
        let (header, size) = read_header(part).map_err(|error| match error {
            GgufError::Missing(path) => GgufError::MissingPart {
                path,
                number,
                count,
            },
            error => error,
        })?;
        check_size(part, &header, size)?;
        info.file_size = info.file_size.saturating_add(size);
        info.parameters = info.parameters.saturating_add(header.parameters);
        info.tensors = info.tensors.saturating_add(header.tensors);
        info.weights.merge(&header.weights);
    }
    info.parts = parts;
    Ok(())
}

fn read_header(path: &Path) -> Result<(Header, u64), GgufError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            GgufError::Missing(path.to_owned())
        }
        _ => GgufError::Io {
            path: path.to_owned(),
            source,
        },
    };
    let metadata = fs::metadata(path).map_err(fail)?;
    // Opening a pipe would wait for a writer.
    if !metadata.is_file() {
        return Err(GgufError::NotAFile(path.to_owned()));
    }
    let size = metadata.len();
    let file = File::open(path).map_err(fail)?;
    let header = header::read(BufReader::with_capacity(1 << 16, &file), size);
    let header = header.map_err(|error| match error {
        HeaderError::Magic => kind::not_gguf(path),
        HeaderError::Version(version) if (1..=3).contains(&version.swap_bytes()) => {
            GgufError::NotGguf {
                path: path.to_owned(),
                found: "it is in big-endian byte order; download a little-endian one".to_owned(),
            }
        }
        HeaderError::Version(version) => GgufError::Version {
            path: path.to_owned(),
            version,
        },
        HeaderError::Truncated => GgufError::Truncated {
            path: path.to_owned(),
            size,
            expected: None,
        },
        HeaderError::Malformed(detail) => GgufError::Malformed {
            path: path.to_owned(),
            detail,
        },
        HeaderError::Io(source) => fail(source),
    })?;
    Ok((header, size))
}

fn check_size(path: &Path, header: &Header, size: u64) -> Result<(), GgufError> {
    if size < header.expected_len {
        return Err(GgufError::Truncated {
            path: path.to_owned(),
            size,
            expected: Some(header.expected_len),
        });
    }
    Ok(())
}

fn info(path: &Path, header: &Header, file_size: u64) -> GgufInfo {
    let architecture = header
        .text("general.architecture")
        .unwrap_or_default()
        .to_owned();
    let own = |key: &str| header.unsigned(&format!("{architecture}.{key}"));
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let vocabulary = match header.metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array { count, .. }) => Some(*count),
        _ => own("vocab_size"),
    };
    GgufInfo {
        parts: vec![path.to_owned()],
        file_size,
        gguf_version: header.version,
        name: header
            .text("general.name")
            .filter(|name| !name.trim().is_empty())
            .map_or(stem, str::to_owned),
        parameters: header.parameters,
        tensors: header.tensors,
        quantisation: header
            .unsigned("general.file_type")
            .and_then(types::file_type)
            .or(header.main_type)
            .unwrap_or("unknown")
            .to_owned(),
        training_context: own("context_length"),
        embedding_length: own("embedding_length"),
        layers: own("block_count"),
        heads: own("attention.head_count"),
        kv_heads: own("attention.head_count_kv").or_else(|| own("attention.head_count")),
        key_length: own("attention.key_length"),
        value_length: own("attention.value_length"),
        vocabulary,
        tokenizer: header.text("tokenizer.ggml.model").map(str::to_owned),
        bos_id: header.unsigned("tokenizer.ggml.bos_token_id"),
        eos_id: header.unsigned("tokenizer.ggml.eos_token_id"),
        pooling_type: own("pooling_type"),
        chat_template: header.text("tokenizer.chat_template").map(str::to_owned),
        weights: header.weights.clone(),
        architecture,
    }
}

#[cfg(test)]
#[path = "gguf/tests.rs"]
mod tests;

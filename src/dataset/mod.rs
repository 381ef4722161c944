//! Prompt files in: JSONL, CSV, plain text and Parquet, one reader each.
//!
//! [`open`] gives a [`PromptReader`] that streams: it holds one row and, for every prompt seen, a
//! 64-bit hash, so that a file of a million lines takes no more memory than its hashes. A row that
//! cannot be used is handed out as [`Skipped`] with its file, line and reason, and reading goes on.

mod csv;
mod jsonl;
mod labelled;
mod lines;
mod parquet;
mod published;
mod row;
mod text;
mod unique;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::digest::Digest;
use crate::prompt::Prompt;

pub use labelled::{Compared, Labelled, LabelledReader, Posed, open_labelled};

use row::RawRow;
use unique::Unique;

/// How prompt files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The field or column that holds the prompt.
    pub prompt_field: String,
    /// Makes the first row that cannot be used fatal.
    pub strict: bool,
    /// Keeps prompts whose content was seen before.
    pub keep_duplicates: bool,
    /// The most bytes that the contents of one prompt's messages may have together.
    pub max_prompt_bytes: usize,
    /// The most bytes that one line, or one row of a CSV file, may have. No more than this is held.
    pub max_line_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            prompt_field: row::DEFAULT_FIELD.to_owned(),
            strict: false,
            keep_duplicates: false,
            max_prompt_bytes: 1 << 20,
            max_line_bytes: 8 << 20,
        }
    }
}

/// A row that cannot be used. Displays as `file:line: reason; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The prompt file.
    pub path: PathBuf,
    /// The line on which the row starts, from 1; in a Parquet file the row's number.
    pub line: u64,
    /// What is wrong with it and what to do about it.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.reason)
    }
}

/// Why a prompt file cannot be read, or not to its end.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// The file cannot be opened.
    #[error("{}: cannot be opened: {source}; check its path and permissions", path.display())]
    Open {
        /// The prompt file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Reading failed part of the way.
    #[error("{}:{line}: cannot be read on from here: {source}", path.display())]
    Read {
        /// The prompt file.
        path: PathBuf,
        /// The line that was being read.
        line: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The path names something that is not a file of prompts.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The prompt file.
        path: PathBuf,
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// The columns are not what a prompt file needs.
    #[error("{}:{line}: {reason}", path.display())]
    Columns {
        /// The prompt file.
        path: PathBuf,
        /// The line of the header.
        line: u64,
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// A Parquet file is broken at the given row.
    #[error("{}:{row}: the Parquet file is damaged from this row on: {reason}; write it again", path.display())]
    Damaged {
        /// The prompt file.
        path: PathBuf,
        /// The row that could not be read, from 1.
        row: u64,
        /// What the Parquet reader says.
        reason: String,
    },
    /// A row cannot be used and reading is strict.
    #[error("{0} (--strict stops at the first row that cannot be used)")]
    Strict(Skipped),
    /// The file was read to its end and held no prompt.
    #[error("{}: {}", path.display(), why_none(*skipped, first.as_ref()))]
    NoUsableRow {
        /// The prompt file.
        path: PathBuf,
        /// How many rows were skipped.
        skipped: u64,
        /// The first of them.
        first: Option<Skipped>,
    },
}

fn why_none(skipped: u64, first: Option<&Skipped>) -> String {
    match first {
        None => "there is no row in it; write one prompt on each line".to_owned(),
        Some(first) => format!("no row can be used ({skipped} skipped); the first: {first}"),
    }
}

/// What came out of a prompt file so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prompts handed out.
    pub rows: u64,
    /// Rows that could not be used.
    pub skipped: u64,
    /// Rows left out because their content was seen before.
    pub duplicates: u64,
}

/// One row of a prompt file.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// A prompt, with an id that no earlier prompt of the file has.
    Prompt(Prompt),
    /// A row that cannot be used.
    Skipped(Skipped),
}

/// What each file kind is behind: rows in file order, with their lines.
type Source = Box<dyn Iterator<Item = Result<RawRow, DatasetError>> + Send>;

/// Streams the rows of a prompt file, in the file's order, duplicates left out.
///
/// Nothing comes after an error.
pub struct PromptReader {
    path: PathBuf,
    options: ReadOptions,
    source: Source,
    unique: Unique,
    counts: Counts,
    first_skipped: Option<Skipped>,
    /// The line of the row that was handed out last.
    line: u64,
    finished: bool,
}

/// Opens a prompt file; its extension tells its kind.
///
/// # Errors
///
/// When the file is missing, empty, not a regular file, of an unknown kind, or when its header says
/// that no row can hold a prompt.
pub fn open(path: &Path, options: &ReadOptions) -> Result<PromptReader, DatasetError> {
    let kind = Kind::of(path)?;
    let file = open_file(path)?;
    let source: Source = match kind {
        Kind::Jsonl => Box::new(jsonl::Rows::open(path, file, options)?),
        Kind::Csv => Box::new(csv::Rows::open(path, file, options)?),
        Kind::Text => Box::new(text::Rows::open(path, file, options)?),
        Kind::Parquet => Box::new(parquet::Rows::open(path, file, options)?),
    };
    Ok(PromptReader {
        path: path.to_owned(),
        options: options.clone(),
        source,
        unique: Unique::new(options.keep_duplicates),
        counts: Counts::default(),
        first_skipped: None,
        line: 0,
        finished: false,
    })
}

/// Streams the rows of a Parquet file of any columns, each with its number from 1. Nothing comes after a row
/// from which the file cannot be read on.
///
/// # Errors
///
/// When the file is no Parquet file.
pub fn parquet_rows(
    path: &Path,
) -> Result<impl Iterator<Item = (u64, Result<Value, String>)> + use<>, DatasetError> {
    let (rows, _) = parquet::Rows::any(path, open_file(path)?)?;
    let mut last = 0;
    Ok(rows.map(move |row| match row {
        Ok(row) => {
            last = row.line;
            let content = row.content.map(|content| match content {
                row::Content::Fields(fields) => Value::Object(fields),
                row::Content::Text(text) => Value::String(text),
            });
            (row.line, content)
        }
        Err(error) => (last + 1, Err(error.to_string())),
    }))
}

/// The digest of a prompt file's bytes, read as a stream.
///
/// # Errors
///
/// When the file cannot be read, or is none that prompts can be read from.
pub fn digest(path: &Path) -> Result<Digest, DatasetError> {
    // A device or a pipe may have no end.
    Kind::of(path)?;
    let mut file = open_file(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest::from_hash(hasher.finalize())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                let path = path.to_owned();
                return Err(DatasetError::Open { path, source });
            }
        };
        hasher.update(&buffer[..read]);
    }
}

impl PromptReader {
    /// What came out so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Where the row that was handed out last stands, as `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.line)
    }

    /// The row that was handed out last, as one that its reader cannot use for this reason.
    pub fn refused(&self, reason: String) -> Skipped {
        Skipped {
            path: self.path.clone(),
            line: self.line,
            reason,
        }
    }

    /// Says whether the rows read so far hold a prompt; to be asked at the end of the file.
    ///
    /// # Errors
    ///
    /// When none of them does.
    pub fn require_rows(&self) -> Result<(), DatasetError> {
        if self.counts.rows > 0 {
            return Ok(());
        }
        Err(DatasetError::NoUsableRow {
            path: self.path.clone(),
            skipped: self.counts.skipped,
            first: self.first_skipped.clone(),
        })
    }

    /// Turns a raw row into a prompt; `None` for a duplicate.
    fn admit(&mut self, raw: RawRow) -> Result<Option<Prompt>, String> {
        let parts = row::read(raw.content?, &self.options)?;
        let id = self.unique.admit(parts.own_id, &parts.messages)?;
        Ok(id.map(|id| Prompt {
            id,
            messages: parts.messages,
            metadata: parts.metadata,
        }))
    }
}

impl Iterator for PromptReader {
    type Item = Result<Row, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished {
            let raw = match self.source.next() {
                Some(Ok(raw)) => raw,
                Some(Err(error)) => {
                    self.finished = true;
                    return Some(Err(error));
                }
                None => {
                    self.finished = true;
                    return None;
                }
            };
            self.line = raw.line;
            match self.admit(raw) {
                Ok(Some(prompt)) => {
                    self.counts.rows += 1;
                    return Some(Ok(Row::Prompt(prompt)));
                }
                Ok(None) => self.counts.duplicates += 1,
                Err(reason) => {
                    let skipped = self.refused(reason);
                    self.counts.skipped += 1;
                    self.first_skipped.get_or_insert_with(|| skipped.clone());
                    if self.options.strict {
                        self.finished = true;
                        return Some(Err(DatasetError::Strict(skipped)));
                    }
                    return Some(Ok(Row::Skipped(skipped)));
                }
            }
        }
        None
    }
}

/// The kinds of prompt files.
#[derive(Clone, Copy)]
enum Kind {
    Jsonl,
    Csv,
    Text,
    Parquet,
}

impl Kind {
    fn of(path: &Path) -> Result<Self, DatasetError> {
        // A path that leads nowhere, or to a folder, is the more telling error.
        check_path(path, "prompt")?;
        match extension(path).as_deref() {
            Some("jsonl" | "ndjson") => Ok(Kind::Jsonl),
            Some("csv") => Ok(Kind::Csv),
            Some("txt") => Ok(Kind::Text),
            Some("parquet") => Ok(Kind::Parquet),
            _ => Err(unusable(
                path,
                "unknown kind of prompt file; name it .jsonl, .csv, .txt or .parquet",
            )),
        }
    }
}

/// Refuses a path that leads to no file with rows in it; `noun` is what a row is called.
fn check_path(path: &Path, noun: &str) -> Result<(), DatasetError> {
    let metadata = std::fs::metadata(path).map_err(|source| DatasetError::Open {
        path: path.to_owned(),
        source,
    })?;
    let reason = match (metadata.is_dir(), metadata.is_file(), metadata.len()) {
        (true, ..) => format!("is a folder; name one {noun} file in it"),
        (_, false, _) => format!(
            "is not a regular file; save the {noun}s to one, so that the same command can continue"
        ),
        (.., 0) => format!("the file is empty; put one {noun} on each line"),
        _ => return Ok(()),
    };
    Err(unusable(path, &reason))
}

/// What a file's name ends in, without its dot and in small letters.
fn extension(path: &Path) -> Option<String> {
    let extension = path.extension()?;
    Some(extension.to_string_lossy().to_ascii_lowercase())
}

fn unusable(path: &Path, reason: &str) -> DatasetError {
    DatasetError::Unusable {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn open_file(path: &Path) -> Result<File, DatasetError> {
    File::open(path).map_err(|source| DatasetError::Open {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;

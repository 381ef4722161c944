//! Plain text: one prompt a line.

use std::fs::File;
use std::path::Path;

use super::lines::{BARE_RETURN, FileLines};
use super::row::{Content, RawRow};
use super::{DatasetError, ReadOptions};

/// The lines of a text file. A blank line is a blank prompt.
pub(super) struct Rows(FileLines);

impl Rows {
    pub fn open(path: &Path, file: File, options: &ReadOptions) -> Result<Self, DatasetError> {
        FileLines::new(path, file, options).map(Self)
    }
}

impl Iterator for Rows {
    type Item = Result<RawRow, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.0.next()?;
        Some(line.map(|line| RawRow {
            line: line.number,
            content: line.content.and_then(content),
        }))
    }
}

/// A line with a carriage return is several prompts to whoever wrote the file, and is not taken for one.
fn content(line: String) -> Result<Content, String> {
    match line.contains('\r') {
        true => Err(BARE_RETURN.to_owned()),
        false => Ok(Content::Text(line)),
    }
}

//! Plain text: one prompt a line.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::lines::{Lines, TextFile, text_file};
use super::row::{Content, RawRow};
use super::{DatasetError, ReadOptions};

/// The lines of a text file. A blank line is a blank prompt.
pub(super) struct Rows {
    path: PathBuf,
    lines: Lines<TextFile>,
}

impl Rows {
    pub fn open(path: &Path, file: File, options: &ReadOptions) -> Result<Self, DatasetError> {
        Ok(Self {
            path: path.to_owned(),
            lines: Lines::new(text_file(path, file)?, options.max_line_bytes),
        })
    }
}

impl Iterator for Rows {
    type Item = Result<RawRow, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.lines.next() {
            Ok(line) => line.map(|line| {
                Ok(RawRow {
                    line: line.number,
                    content: line.content.map(Content::Text),
                })
            }),
            Err(source) => Some(Err(DatasetError::Read {
                path: self.path.clone(),
                line: self.lines.number(),
                source,
            })),
        }
    }
}

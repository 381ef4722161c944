//! JSON Lines: one object a line.

use std::fs::File;
use std::path::Path;

use serde_json::Value;

use super::lines::FileLines;
use super::row::{Content, RawRow};
use super::{DatasetError, ReadOptions};

/// The rows of a JSON Lines file. Blank lines are no rows.
pub(super) struct Rows(FileLines);

impl Rows {
    pub fn open(path: &Path, file: File, options: &ReadOptions) -> Result<Self, DatasetError> {
        FileLines::new(path, file, options).map(Self)
    }
}

impl Iterator for Rows {
    type Item = Result<RawRow, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.0.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            let content = match line.content {
                Ok(text) if text.trim().is_empty() => continue,
                Ok(text) => parse(&text),
                Err(reason) => Err(reason),
            };
            return Some(Ok(RawRow {
                line: line.number,
                content,
            }));
        }
    }
}

fn parse(text: &str) -> Result<Content, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(Content::Fields(fields)),
        Ok(other) => Err(format!(
            "the line is {} and not an object; write {{\"prompt\": …}}",
            super::row::describe(&other)
        )),
        Err(error) => {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            Err(format!(
                "broken JSON at column {}: {message}; write one object on one line",
                error.column()
            ))
        }
    }
}

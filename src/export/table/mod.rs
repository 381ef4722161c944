//! The files that rows are written to, one kind each, and how they are read back.

mod csv;
mod jsonl;
mod parquet;

use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;

use super::columns::Column;

/// The kind of the files that hold rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A JSON object a line
    #[default]
    Jsonl,
    /// A table of texts; lists are JSON in their cells
    Csv,
    /// Typed columns, compressed with Zstandard
    Parquet,
}

impl Kind {
    /// The name used on the command line, and the ending of the files.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Jsonl => "jsonl",
            Kind::Csv => "csv",
            Kind::Parquet => "parquet",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Kind::Jsonl, Kind::Csv, Kind::Parquet]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// A file that rows are added to. It holds no more than a few of them.
pub(super) trait Table<W>: Send {
    /// Adds a row, which has the table's columns.
    fn row(&mut self, row: &Value) -> io::Result<()>;

    /// About how many bytes the file has so far.
    fn bytes(&self) -> u64;

    /// Writes what is still held back.
    fn close(self: Box<Self>) -> io::Result<W>;
}

/// Begins a file. `room` is how many bytes it may hold back, where its rows are not written one by one.
pub(super) fn begin<W: Write + Send + 'static>(
    kind: Kind,
    columns: &[Column],
    out: W,
    room: usize,
) -> io::Result<Box<dyn Table<W>>> {
    Ok(match kind {
        Kind::Jsonl => Box::new(jsonl::Jsonl::new(out)),
        Kind::Csv => Box::new(csv::Csv::begin(columns, out)?),
        Kind::Parquet => Box::new(parquet::Parquet::begin(columns, out, room)?),
    })
}

/// Rows of a file in order, each with its line (in Parquet its number), or what is wrong with it.
pub(super) type RowIter = Box<dyn Iterator<Item = (u64, Result<Value, String>)> + Send>;

/// Reads a file back. A row that cannot be read is handed out with its line and the reason; what cannot be
/// read on from ends the iteration with a last such item.
///
/// # Errors
///
/// When the file cannot be opened or is not of its kind.
pub(super) fn read(kind: Kind, columns: &[Column], path: &Path) -> Result<RowIter, String> {
    match kind {
        Kind::Jsonl => jsonl::read(path),
        Kind::Csv => csv::read(path, columns),
        Kind::Parquet => parquet::read(path),
    }
}

#[cfg(test)]
mod tests;

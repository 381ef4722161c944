//! The files of one split.

use serde_json::Value;

use super::columns::{self, Column};
use super::folder::{Closed, DATA, Folder, Output, write_error};
use super::manifest::SplitEntry;
use super::table::{self, Kind, Table};
use super::{ExportError, ExportOptions};

/// When a file is full and the next one begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardLimit {
    /// The most rows of a file.
    pub rows: Option<u64>,
    /// The bytes after which no further row is added.
    pub bytes: Option<u64>,
}

/// A Parquet file is full at this size unless something else is asked for, as on the Hub.
const PARQUET_BYTES: u64 = 500 << 20;

/// Bytes that the files may hold back that are open together, of which there is one for each split, and the fewest
/// that one may.
const OPEN_BYTES: usize = 16 << 20;
const LEAST_OPEN_BYTES: usize = 1 << 20;

/// A split under way.
pub(super) struct Shards {
    name: String,
    kind: Kind,
    limit: ShardLimit,
    /// Whether files are numbered, in a folder of their own.
    numbered: bool,
    columns: Vec<Column>,
    /// Bytes that the open file may hold back.
    room: usize,
    open: Option<Open>,
    full: Vec<Closed>,
    rows: u64,
    num_bytes: u64,
}

struct Open {
    table: Box<dyn Table<Output>>,
    rows: u64,
}

impl Shards {
    /// A split without a row.
    pub fn new(name: &str, options: &ExportOptions, columns: &[Column]) -> Self {
        let mut limit = options.shard;
        if options.kind == Kind::Parquet && limit == ShardLimit::default() {
            limit.bytes = Some(PARQUET_BYTES);
        }
        Self {
            name: name.to_owned(),
            kind: options.kind,
            numbered: limit != ShardLimit::default(),
            limit,
            columns: columns.to_vec(),
            room: (OPEN_BYTES / options.divided().len()).max(LEAST_OPEN_BYTES),
            open: None,
            full: Vec::new(),
            rows: 0,
            num_bytes: 0,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a row.
    pub fn row(&mut self, folder: &Folder, row: &Value) -> Result<(), ExportError> {
        let failed = |name: &str, source| write_error(&folder.place(name), source);
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open {
                table: table::begin(self.kind, &self.columns, folder.create()?, self.room)
                    .map_err(|source| failed(&self.name, source))?,
                rows: 0,
            }),
        };
        open.table
            .row(row)
            .map_err(|source| failed(&self.name, source))?;
        open.rows += 1;
        self.rows += 1;
        self.num_bytes += match self.kind {
            Kind::Csv => columns::flat_bytes(row),
            Kind::Jsonl | Kind::Parquet => columns::arrow_bytes(row),
        };
        let full = self.limit.rows.is_some_and(|most| open.rows >= most)
            || self
                .limit
                .bytes
                .is_some_and(|most| open.table.bytes() >= most);
        if full { self.fill() } else { Ok(()) }
    }

    fn fill(&mut self) -> Result<(), ExportError> {
        if let Some(Open { table, rows }) = self.open.take() {
            let output = table.close().map_err(|source| ExportError::Write {
                path: self.name.clone().into(),
                source,
            })?;
            self.full.push(output.close(rows)?);
        }
        Ok(())
    }

    /// Names the files; `None` for a split without a row.
    pub fn close(mut self) -> Result<Option<(SplitEntry, Vec<Closed>)>, ExportError> {
        self.fill()?;
        let (count, ending) = (self.full.len(), self.kind.as_str());
        if count == 0 {
            return Ok(None);
        }
        let name = |index: usize| match self.numbered {
            true => format!("{DATA}/{}-{index:05}-of-{count:05}.{ending}", self.name),
            false => format!("{}.{ending}", self.name),
        };
        let named = self.full.into_iter().enumerate();
        let files: Vec<_> = named.map(|(index, file)| file.named(name(index))).collect();
        let entry = SplitEntry {
            rows: self.rows,
            num_bytes: self.num_bytes,
            files: files.iter().map(|file| file.entry().name.clone()).collect(),
            name: self.name,
        };
        Ok(Some((entry, files)))
    }
}

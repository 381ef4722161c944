//! CSV: a header row, then one row a prompt. Quoted cells may hold line ends.
//!
//! It stands on `csv-core` and not on `csv`, whose records grow with the file when a quotation mark is
//! never closed. Here a row past the limit is passed over without being held.

use std::fs::File;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use csv_core::ReadRecordResult;
use serde_json::{Map, Value};

use super::lines::{TextFile, text_file};
use super::row::{Content, RawRow, check_columns, shown};
use super::{DatasetError, ReadOptions};

/// The most columns that are told apart.
const MAX_COLUMNS: usize = 4096;

/// The rows of a CSV file.
pub(super) struct Rows {
    path: PathBuf,
    records: Records<TextFile>,
    names: Vec<String>,
}

impl Rows {
    pub fn open(path: &Path, file: File, options: &ReadOptions) -> Result<Self, DatasetError> {
        let mut records = Records::new(text_file(path, file)?, options.max_line_bytes);
        let columns = |line, reason| DatasetError::Columns {
            path: path.to_owned(),
            line,
            reason,
        };
        let header = records
            .next()
            .map_err(|source| DatasetError::Open {
                path: path.to_owned(),
                source,
            })?
            .ok_or_else(|| columns(1, "no header; name the columns in the first row".to_owned()))?;
        let names = header
            .cells
            .and_then(|cells| read_header(cells, &options.prompt_field))
            .map_err(|reason| columns(header.line, reason))?;
        Ok(Self {
            path: path.to_owned(),
            records,
            names,
        })
    }
}

impl Iterator for Rows {
    type Item = Result<RawRow, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.records.next() {
            Ok(record) => record.map(|record| {
                Ok(RawRow {
                    line: record.line,
                    content: record.cells.and_then(|cells| fields(&self.names, cells)),
                })
            }),
            Err(source) => Some(Err(DatasetError::Read {
                path: self.path.clone(),
                line: self.records.line,
                source,
            })),
        }
    }
}

fn read_header(cells: Vec<Vec<u8>>, prompt_field: &str) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::with_capacity(cells.len());
    for (index, cell) in cells.into_iter().enumerate() {
        let name = String::from_utf8(cell)
            .map_err(|_| "bad UTF-8 in the header; save the file as UTF-8".to_owned())?;
        let name = match name.trim() {
            // Spreadsheets and data frames write their row numbers under an empty name.
            "" => format!("column_{}", index + 1),
            name => name.to_owned(),
        };
        if names.contains(&name) {
            return Err(format!(
                "two columns are named {}; rename one",
                shown(&name)
            ));
        }
        names.push(name);
    }
    check_columns(&names, prompt_field).map_err(|reason| match names.as_slice() {
        [only] if only.contains([';', '\t']) => {
            format!("{reason}; separate the columns with commas")
        }
        _ => reason,
    })?;
    Ok(names)
}

fn fields(names: &[String], cells: Vec<Vec<u8>>) -> Result<Content, String> {
    if cells.len() != names.len() {
        return Err(format!(
            "the row has {} cells and the header {}; quote cells that hold commas or line ends",
            cells.len(),
            names.len()
        ));
    }
    let mut fields = Map::with_capacity(names.len());
    for (name, cell) in names.iter().zip(cells) {
        let text = String::from_utf8(cell).map_err(|_| {
            format!(
                "bad UTF-8 in the column {}; save the file as UTF-8",
                shown(name)
            )
        })?;
        fields.insert(name.clone(), Value::String(text));
    }
    Ok(Content::Fields(fields))
}

/// One record, or why it cannot be used.
struct Record {
    /// The line on which it starts.
    line: u64,
    cells: Result<Vec<Vec<u8>>, String>,
}

/// The records of a reader, none held beyond `limit` bytes.
struct Records<R> {
    input: R,
    parser: csv_core::Reader,
    limit: usize,
    /// The line that is being read, from 1.
    line: u64,
    /// The byte read last.
    last: u8,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: BufRead> Records<R> {
    fn new(input: R, limit: usize) -> Self {
        Self {
            input,
            parser: csv_core::Reader::new(),
            limit,
            line: 1,
            last: b'\n',
            bytes: vec![0; limit.min(1 << 12)],
            ends: vec![0; 64],
        }
    }

    fn next(&mut self) -> io::Result<Option<Record>> {
        if !self.skip_blank_lines()? {
            return Ok(None);
        }
        let line = self.line;
        let (mut filled, mut ended, mut too_long) = (0, 0, None);
        loop {
            let chunk = fill(&mut self.input)?;
            let at_end = chunk.is_empty();
            // A line end closes the last row, unless a quotation mark is open: then it is text.
            let input = if at_end { b"\n" } else { chunk };
            let (result, read, wrote, closed) =
                self.parser
                    .read_record(input, &mut self.bytes[filled..], &mut self.ends[ended..]);
            let taken = &input[..read];
            self.line += taken.iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.last = taken.last().copied().unwrap_or(self.last);
            // A carriage return ends a row as well. Within a cell it is text.
            let returned = result == ReadRecordResult::Record && self.last == b'\r';
            self.line += u64::from(returned);
            if !at_end {
                self.input.consume(read);
            }
            filled += wrote;
            ended += closed;
            match result {
                ReadRecordResult::InputEmpty if at_end => {
                    self.parser = csv_core::Reader::new();
                    let reason = "a quotation mark is never closed, so the rest of the file is \
                                  one cell; close it, and double quotation marks inside a cell";
                    return Ok(Some(Record {
                        line,
                        cells: Err(reason.to_owned()),
                    }));
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.bytes.len() < self.limit => {
                    let more = (self.bytes.len() * 2).min(self.limit);
                    self.bytes.resize(more, 0);
                }
                ReadRecordResult::OutputFull => {
                    too_long.get_or_insert_with(|| format!("{} bytes", self.limit));
                    filled = 0;
                }
                ReadRecordResult::OutputEndsFull if self.ends.len() < MAX_COLUMNS => {
                    self.ends.resize(self.ends.len() * 2, 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    too_long.get_or_insert_with(|| format!("{MAX_COLUMNS} cells"));
                    ended = 0;
                }
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        let cells = match too_long {
            Some(limit) => Err(format!(
                "the row has more than {limit}; shorten it, or look for an open quotation mark"
            )),
            None => Ok(cells(&self.bytes[..filled], &self.ends[..ended])),
        };
        Ok(Some(Record { line, cells }))
    }

    /// Goes to the first byte of the next record; false at the end of the file.
    fn skip_blank_lines(&mut self) -> io::Result<bool> {
        loop {
            let chunk = fill(&mut self.input)?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let blank = chunk
                .iter()
                .take_while(|byte| matches!(byte, b'\n' | b'\r'))
                .count();
            for &byte in &chunk[..blank] {
                // The second half of `\r\n` ends no other line.
                self.line += u64::from(byte == b'\r' || self.last != b'\r');
                self.last = byte;
            }
            let found = blank < chunk.len();
            self.input.consume(blank);
            if found {
                return Ok(true);
            }
        }
    }
}

fn fill(input: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // Asked twice, because a slice returned from inside the loop would borrow the input for good. A
    // filled buffer is not filled again.
    input.fill_buf()
}

fn cells(bytes: &[u8], ends: &[usize]) -> Vec<Vec<u8>> {
    let mut start = 0;
    ends.iter()
        .map(|&end| {
            let cell = bytes.get(start..end).unwrap_or_default().to_vec();
            start = end;
            cell
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rows = Vec<(u64, Result<Vec<String>, String>)>;

    fn records(bytes: &[u8], limit: usize) -> Rows {
        let mut records = Records::new(io::BufReader::with_capacity(3, bytes), limit);
        let mut all = Vec::new();
        while let Some(record) = records.next().unwrap() {
            let cells = record.cells.map(|cells| {
                cells
                    .into_iter()
                    .map(|cell| String::from_utf8(cell).unwrap())
                    .collect()
            });
            all.push((record.line, cells));
        }
        all
    }

    fn row(line: u64, cells: &[&str]) -> (u64, Result<Vec<String>, String>) {
        (line, Ok(cells.iter().map(|&c| c.to_owned()).collect()))
    }

    #[test]
    fn rows_know_the_line_on_which_they_start() {
        assert_eq!(
            records(b"a,b\r\n\r\n\n1,\"x\ny\r\n\"\"z\"\n2,\n\n3,4", 100),
            [
                row(1, &["a", "b"]),
                row(4, &["1", "x\ny\r\n\"z"]),
                row(7, &["2", ""]),
                row(9, &["3", "4"]),
            ]
        );
    }

    #[test]
    fn carriage_returns_alone_end_rows_and_are_counted() {
        assert_eq!(
            records(b"a,b\r1,\"x\ry\nz\"\r\r2,3\r\n4,5\n6,7", 100),
            [
                row(1, &["a", "b"]),
                row(2, &["1", "x\ry\nz"]),
                row(5, &["2", "3"]),
                row(6, &["4", "5"]),
                row(7, &["6", "7"]),
            ]
        );
    }

    #[test]
    fn a_row_past_the_limit_is_passed_over() {
        let long = format!("a\n\"{}\n\"\nb\n", "x".repeat(10_000));
        let all = records(long.as_bytes(), 50);
        assert_eq!(all[0], row(1, &["a"]));
        assert!(all[1].1.as_ref().unwrap_err().contains("50 bytes"));
        assert_eq!(all[2], row(4, &["b"]));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn too_many_cells_are_passed_over() {
        let wide = format!("{}\nb\n", ",".repeat(3 * MAX_COLUMNS));
        let all = records(wide.as_bytes(), 100);
        assert!(all[0].1.as_ref().unwrap_err().contains("cells"));
        assert_eq!(all[1], row(2, &["b"]));
    }

    #[test]
    fn an_open_quotation_mark_is_named_where_it_starts() {
        for limit in [100, 6] {
            let all = records(b"a\nb\n\"open\nand on\nand on", limit);
            assert_eq!(all.len(), 3);
            assert_eq!(all[2].0, 3);
            assert!(all[2].1.as_ref().unwrap_err().contains("never closed"));
        }
    }
}

//! A JSON object a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use serde_json::Value;

use super::{RowIter, Table};

/// The longest line that is read back.
const LONGEST: u64 = 256 << 20;

/// A file under way.
pub(super) struct Jsonl<W> {
    out: W,
    line: Vec<u8>,
    bytes: u64,
}

impl<W> Jsonl<W> {
    /// Begins a file.
    pub fn new(out: W) -> Self {
        Self {
            out,
            line: Vec::new(),
            bytes: 0,
        }
    }
}

impl<W: Write + Send> Table<W> for Jsonl<W> {
    fn row(&mut self, row: &Value) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, row)?;
        self.line.push(b'\n');
        self.bytes += self.line.len() as u64;
        self.out.write_all(&self.line)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn close(self: Box<Self>) -> io::Result<W> {
        Ok(self.out)
    }
}

/// Reads a file back.
pub(super) fn read(path: &Path) -> Result<RowIter, String> {
    let mut file = BufReader::new(File::open(path).map_err(|error| error.to_string())?);
    let mut line_number = 0;
    let mut ended = false;
    Ok(Box::new(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        line_number += 1;
        let mut line = Vec::new();
        let read = (&mut file).take(LONGEST + 1).read_until(b'\n', &mut line);
        let row = match read {
            Ok(0) => return None,
            Ok(length) if length as u64 > LONGEST => {
                ended = true;
                Err("the line is too long".to_owned())
            }
            Ok(_) => {
                // General data may come from a program that begins files with a byte order mark.
                let mark = line.strip_prefix("\u{feff}".as_bytes());
                let text = mark.filter(|_| line_number == 1).unwrap_or(&line);
                serde_json::from_slice(text).map_err(|error| format!("no JSON: {error}"))
            }
            Err(error) => {
                ended = true;
                Err(error.to_string())
            }
        };
        Some((line_number, row))
    })))
}

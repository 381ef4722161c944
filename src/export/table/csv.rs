//! Comma-separated values after RFC 4180, in UTF-8. Lists and objects are JSON in their cells, null is an
//! empty cell.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use csv_core::{ReadRecordResult, Reader};
use serde_json::{Map, Number, Value};

use super::{RowIter, Table};
use crate::export::columns::{Column, Kind};

/// The largest row that is read back.
const LARGEST: usize = 256 << 20;

/// A file under way.
pub(super) struct Csv<W> {
    out: W,
    names: Vec<&'static str>,
    line: String,
    bytes: u64,
}

impl<W: Write> Csv<W> {
    /// Begins a file with its header.
    pub fn begin(columns: &[Column], mut out: W) -> io::Result<Self> {
        let names: Vec<_> = columns.iter().map(|column| column.name).collect();
        let header = names.join(",") + "\n";
        out.write_all(header.as_bytes())?;
        Ok(Self {
            out,
            names,
            line: String::new(),
            bytes: header.len() as u64,
        })
    }
}

impl<W: Write + Send> Table<W> for Csv<W> {
    fn row(&mut self, row: &Value) -> io::Result<()> {
        self.line.clear();
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                self.line.push(',');
            }
            match &row[*name] {
                Value::Null => {}
                Value::String(text) => quoted(text, &mut self.line),
                Value::Bool(value) => self.line.push_str(if *value { "true" } else { "false" }),
                Value::Number(number) => self.line.push_str(&number.to_string()),
                value => quoted(&value.to_string(), &mut self.line),
            }
        }
        self.line.push('\n');
        self.bytes += self.line.len() as u64;
        self.out.write_all(self.line.as_bytes())
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn close(self: Box<Self>) -> io::Result<W> {
        Ok(self.out)
    }
}

/// Always in quotation marks, so that an empty text is told from null and a number from its digits.
fn quoted(text: &str, line: &mut String) {
    line.push('"');
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

/// Reads a file back.
pub(super) fn read(path: &Path, columns: &[Column]) -> Result<RowIter, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut records = Records::new(file);
    let header = records.next_record()?.ok_or("the file is empty")?.1;
    let expected: Vec<_> = columns.iter().map(|column| column.name).collect();
    if header != expected {
        return Err(format!("the header is not {}", expected.join(",")));
    }
    let columns = columns.to_vec();
    let mut ended = false;
    Ok(Box::new(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        match records.next_record() {
            Ok(None) => None,
            Ok(Some((line, cells))) => Some((line, row(&columns, cells))),
            Err(reason) => {
                ended = true;
                Some((records.line, Err(reason)))
            }
        }
    })))
}

fn row(columns: &[Column], cells: Vec<String>) -> Result<Value, String> {
    if cells.len() != columns.len() {
        return Err(format!(
            "{} cells in place of {}",
            cells.len(),
            columns.len()
        ));
    }
    let cell = |(column, cell): (&Column, String)| {
        let value = value(column, cell).map_err(|reason| format!("`{}` {reason}", column.name))?;
        Ok((column.name.to_owned(), value))
    };
    let fields = columns.iter().zip(cells).map(cell);
    Ok(Value::Object(
        fields.collect::<Result<Map<_, _>, String>>()?,
    ))
}

fn value(column: &Column, cell: String) -> Result<Value, String> {
    if cell.is_empty() && column.nullable {
        return Ok(Value::Null);
    }
    match column.kind {
        Kind::Text => Ok(Value::String(cell)),
        Kind::Bool => match cell.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err("is neither true nor false".to_owned()),
        },
        Kind::Float => {
            let number = serde_json::from_str::<Number>(&cell);
            number
                .map(Value::Number)
                .map_err(|_| "is no number".to_owned())
        }
        Kind::List(_) | Kind::Struct(_) => {
            serde_json::from_str(&cell).map_err(|error| format!("is no JSON: {error}"))
        }
    }
}

/// Records of a file, each with the line it starts on.
struct Records {
    file: File,
    reader: Reader,
    buffer: Vec<u8>,
    filled: usize,
    at: usize,
    line: u64,
}

impl Records {
    fn new(file: File) -> Self {
        Self {
            file,
            reader: Reader::new(),
            buffer: vec![0; 1 << 16],
            filled: 0,
            at: 0,
            line: 1,
        }
    }

    fn next_record(&mut self) -> Result<Option<(u64, Vec<String>)>, String> {
        let (mut output, mut ends) = (vec![0; 1 << 12], vec![0; 64]);
        let (mut written, mut ended) = (0, 0);
        let line = self.reader.line();
        loop {
            if self.at == self.filled {
                let read = self.file.read(&mut self.buffer);
                self.filled = read.map_err(|error| error.to_string())?;
                self.at = 0;
            }
            let input = &self.buffer[self.at..self.filled];
            let (result, read, wrote, fields) =
                self.reader
                    .read_record(input, &mut output[written..], &mut ends[ended..]);
            self.at += read;
            written += wrote;
            ended += fields;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if output.len() >= LARGEST => {
                    return Err("the row is too large".to_owned());
                }
                ReadRecordResult::OutputFull => output.resize(output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => {
                    return Err("the row has too many cells".to_owned());
                }
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record => break,
            }
        }
        self.line = line;
        let mut start = 0;
        let mut cells = Vec::with_capacity(ended);
        for end in &ends[..ended] {
            let cell = std::str::from_utf8(&output[start..*end]);
            cells.push(cell.map_err(|_| "bad UTF-8".to_owned())?.to_owned());
            start = *end;
        }
        Ok(Some((line, cells)))
    }
}

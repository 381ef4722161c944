//! Parquet: typed columns, nested lists and structs among them, compressed with Zstandard.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float64Builder, ListBuilder, StringBuilder, StructBuilder,
    make_builder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use serde_json::Value;

use super::{RowIter, Table};
use crate::dataset;
use crate::export::columns::{self, Column, Kind};

/// Rows that are gathered before they are encoded.
const GATHERED_ROWS: usize = 1000;

/// A file's room has so many parts. The texts that are gathered take one, and so does a page, or the dictionary, of
/// each column that is under way.
const PARTS: usize = 16;

/// A file under way.
pub(super) struct Parquet<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
    columns: Vec<Column>,
    builders: Vec<Box<dyn ArrayBuilder>>,
    rows: usize,
    gathered: usize,
    /// Bytes of a part of the room.
    part: usize,
}

impl<W: Write + Send> Parquet<W> {
    /// Begins a file that holds about so many bytes back.
    pub fn begin(columns: &[Column], out: W, room: usize) -> io::Result<Self> {
        let schema = Arc::new(columns::schema(columns));
        let level = ZstdLevel::try_new(3)?;
        let part = room / PARTS;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by("amend".to_owned())
            .set_data_page_size_limit(part)
            .set_dictionary_page_size_limit(part)
            // Those of pages are held to the end of the file, and nobody looks texts up by their order.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?;
        let builder =
            |field: &arrow_schema::FieldRef| make_builder(field.data_type(), GATHERED_ROWS);
        Ok(Self {
            writer,
            builders: schema.fields().iter().map(builder).collect(),
            schema,
            columns: columns.to_vec(),
            rows: 0,
            gathered: 0,
            part,
        })
    }

    fn encode(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let arrays: Vec<ArrayRef> = self
            .builders
            .iter_mut()
            .map(|builder| builder.finish())
            .collect();
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(io::Error::other)?;
        self.writer.write(&batch)?;
        // Arrays grow by doubling, and what they hold is encoded before they are let go: that takes three parts.
        if self.writer.memory_size() > (PARTS - 3) * self.part {
            self.writer.flush()?;
        }
        (self.rows, self.gathered) = (0, 0);
        Ok(())
    }
}

impl<W: Write + Send> Table<W> for Parquet<W> {
    fn row(&mut self, row: &Value) -> io::Result<()> {
        for (column, builder) in self.columns.iter().zip(&mut self.builders) {
            append(&mut **builder, &column.kind, &row[column.name])?;
        }
        self.rows += 1;
        self.gathered += columns::arrow_bytes(row) as usize;
        match self.rows >= GATHERED_ROWS || self.gathered >= self.part {
            true => self.encode(),
            false => Ok(()),
        }
    }

    fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size() + self.gathered) as u64
    }

    fn close(mut self: Box<Self>) -> io::Result<W> {
        self.encode()?;
        Ok(self.writer.into_inner()?)
    }
}

/// Adds a value to an array of its kind; what does not fit becomes null.
fn append(builder: &mut dyn ArrayBuilder, kind: &Kind, value: &Value) -> io::Result<()> {
    match kind {
        Kind::Text => typed::<StringBuilder>(builder)?.append_option(value.as_str()),
        Kind::Bool => typed::<BooleanBuilder>(builder)?.append_option(value.as_bool()),
        Kind::Float => typed::<Float64Builder>(builder)?.append_option(value.as_f64()),
        Kind::List(inner) => {
            let list = typed::<ListBuilder<Box<dyn ArrayBuilder>>>(builder)?;
            for item in value.as_array().into_iter().flatten() {
                append(&mut **list.values(), inner, item)?;
            }
            list.append(value.is_array());
        }
        Kind::Struct(columns) => {
            let group = typed::<StructBuilder>(builder)?;
            for (column, builder) in columns.iter().zip(group.field_builders_mut()) {
                append(&mut **builder, &column.kind, &value[column.name])?;
            }
            group.append(value.is_object());
        }
    }
    Ok(())
}

fn typed<T: ArrayBuilder>(builder: &mut dyn ArrayBuilder) -> io::Result<&mut T> {
    let other = || io::Error::other("an Arrow builder is not of its column's type");
    builder.as_any_mut().downcast_mut().ok_or_else(other)
}

/// Reads a file back, with the reader of prompt files.
pub(super) fn read(path: &Path) -> Result<RowIter, String> {
    let rows = dataset::parquet_rows(path).map_err(|error| error.to_string())?;
    Ok(Box::new(rows))
}

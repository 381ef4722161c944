//! Parquet: the columns of a table, row by row.
//!
//! Only one page of each column is held at a time. The Parquet reader may panic on damaged files, so
//! every call into it is guarded, and a panic becomes an error that says what it was.

use std::cell::Cell;
use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use ::parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::file::serialized_reader::ReadOptionsBuilder;
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Number, Value, json};

use super::row::{Content, ID_FIELD, MESSAGES_FIELD, RawRow, check_columns, shown};
use super::{DatasetError, ReadOptions};

/// Values of one column that are decoded ahead.
const BATCH: usize = 64;

/// The rows of a Parquet file.
pub(super) struct Rows {
    path: PathBuf,
    rows: RowIter<'static>,
    /// The columns whose bytes need not be text.
    data: Vec<String>,
    /// Rows read, the failed one included.
    read: u64,
    /// Rows that the file says it has.
    total: u64,
}

impl Rows {
    /// Opens a file of prompts.
    pub fn open(path: &Path, file: File, options: &ReadOptions) -> Result<Self, DatasetError> {
        let (mut rows, names) = Self::any(path, file)?;
        let texts = [options.prompt_field.as_str(), MESSAGES_FIELD, ID_FIELD];
        rows.data.retain(|name| !texts.contains(&name.as_str()));
        check_names(&names, &options.prompt_field).map_err(|reason| DatasetError::Columns {
            path: path.to_owned(),
            line: 1,
            reason,
        })?;
        Ok(rows)
    }

    /// Opens a file of any columns; gives their names too.
    pub fn any(path: &Path, file: File) -> Result<(Self, Vec<String>), DatasetError> {
        let unusable = |reason: String| DatasetError::Unusable {
            path: path.to_owned(),
            reason: format!("is not a Parquet file, or a damaged one: {reason}; write it again"),
        };
        let (reader, data) = guarded(|| reader(file)).map_err(unusable)?;
        let total = row_count(reader.metadata()).map_err(unusable)?;
        let names = column_names(reader.metadata());
        let rows = guarded(|| Ok(RowIter::from_file_into(Box::new(reader)).with_batch_size(BATCH)))
            .map_err(unusable)?;
        let rows = Self {
            path: path.to_owned(),
            rows,
            data,
            read: 0,
            total,
        };
        Ok((rows, names))
    }
}

impl Iterator for Rows {
    type Item = Result<RawRow, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read >= self.total {
            return None;
        }
        self.read += 1;
        let row = guarded(|| self.rows.next().transpose());
        let reason = match row {
            Ok(Some(row)) => {
                return Some(Ok(RawRow {
                    line: self.read,
                    content: fields(row, &self.data).map(Content::Fields),
                }));
            }
            Ok(None) => "it ends before the last row".to_owned(),
            Err(reason) => reason,
        };
        let row = self.read;
        // After an error the columns are out of step: nothing that follows can be trusted.
        self.read = self.total;
        Some(Err(DatasetError::Damaged {
            path: self.path.clone(),
            row,
            reason,
        }))
    }
}

/// Opens the file with a schema in which texts are bytes, so that bad UTF-8 spoils its row and not
/// the rest of the file. Gives the columns, too, whose bytes need not be text.
fn reader(file: File) -> Result<(SerializedFileReader<File>, Vec<String>), ParquetError> {
    let again = file.try_clone()?;
    let reader = SerializedFileReader::new(file)?;
    let root = reader.metadata().file_metadata().schema();
    let schema = Arc::new(SchemaDescriptor::new(texts_as_bytes(root)?));
    let options = ReadOptionsBuilder::new()
        .with_parquet_schema(schema)
        .build();
    let reader = SerializedFileReader::new_with_options(again, options)?;
    Ok((reader, data_columns(root)))
}

fn texts_as_bytes(node: &Type) -> Result<TypePtr, ParquetError> {
    let info = node.get_basic_info();
    if let Type::GroupType { fields, .. } = node {
        let fields = fields
            .iter()
            .map(|field| texts_as_bytes(field))
            .collect::<Result<_, _>>()?;
        let mut group = Type::group_type_builder(info.name())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_converted_type(info.converted_type())
            .with_fields(fields)
            .with_id(info.has_id().then(|| info.id()));
        if info.has_repetition() {
            group = group.with_repetition(info.repetition());
        }
        return group.build().map(Arc::new);
    }
    if !is_bytes(node) {
        return Ok(Arc::new(node.clone()));
    }
    let length = match node {
        Type::PrimitiveType { type_length, .. } => *type_length,
        Type::GroupType { .. } => -1,
    };
    Type::primitive_type_builder(info.name(), node.get_physical_type())
        .with_repetition(info.repetition())
        .with_length(length)
        .with_id(info.has_id().then(|| info.id()))
        .build()
        .map(Arc::new)
}

/// The number of rows, once the parts of the file agree about it.
fn row_count(metadata: &ParquetMetaData) -> Result<u64, String> {
    let mut total = 0_u64;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows();
        let short = group.columns().iter().any(|c| c.num_values() < rows);
        let rows = u64::try_from(rows).ok().filter(|_| !short);
        total = rows
            .and_then(|rows| total.checked_add(rows))
            .ok_or_else(|| format!("row group {index} has fewer values than rows"))?;
    }
    Ok(total)
}

fn column_names(metadata: &ParquetMetaData) -> Vec<String> {
    let root = metadata.file_metadata().schema();
    let Type::GroupType { fields, .. } = root else {
        return Vec::new();
    };
    fields.iter().map(|field| field.name().to_owned()).collect()
}

fn data_columns(root: &Type) -> Vec<String> {
    let Type::GroupType { fields, .. } = root else {
        return Vec::new();
    };
    let data = fields.iter().filter(|field| holds_data(field));
    data.map(|field| field.name().to_owned()).collect()
}

/// Whether a column holds bytes of which the file does not say that they are text.
fn holds_data(node: &Type) -> bool {
    let text = matches!(
        node.get_basic_info().converted_type(),
        ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON
    );
    match node {
        Type::GroupType { fields, .. } => fields.iter().any(|field| holds_data(field)),
        Type::PrimitiveType { .. } => is_bytes(node) && !text,
    }
}

/// Whether the values of a column are bytes, numbers that are kept as such aside.
fn is_bytes(node: &Type) -> bool {
    let info = node.get_basic_info();
    let number = info.converted_type() == ConvertedType::DECIMAL
        || info.logical_type_ref() == Some(&LogicalType::Float16);
    let physical = node.get_physical_type();
    !number
        && matches!(
            physical,
            PhysicalType::BYTE_ARRAY | PhysicalType::FIXED_LEN_BYTE_ARRAY
        )
}

fn check_names(names: &[String], prompt_field: &str) -> Result<(), String> {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(format!("two columns are named {}; rename one", shown(name)));
        }
    }
    check_columns(names, prompt_field)
}

fn fields(row: Row, data: &[String]) -> Result<Map<String, Value>, String> {
    row.into_columns()
        .into_iter()
        .map(|(name, field)| match value(&field, data.contains(&name)) {
            Ok(value) => Ok((name, value)),
            Err(reason) => Err(format!(
                "{reason} in the column {}; write texts as UTF-8",
                shown(&name)
            )),
        })
        .collect()
}

/// A field as JSON. Times are numbers in the column's own unit, since epoch or midnight. Bytes are text; those
/// that are none become an object where they may be `data`, which nothing takes for a prompt.
fn value(field: &Field, data: bool) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Bool(*value),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) | Field::Date(value) | Field::TimeMillis(value) => (*value).into(),
        Field::Long(value)
        | Field::TimeMicros(value)
        | Field::TimestampMillis(value)
        | Field::TimestampMicros(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float16(value) => number(f64::from(*value)),
        Field::Float(value) => number(f64::from(*value)),
        Field::Double(value) => number(*value),
        Field::Str(text) => Value::String(text.clone()),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) if data => json!({ "base64": BASE64.encode(bytes.data()) }),
            Err(_) => return Err("bad UTF-8".to_owned()),
        },
        Field::Decimal(_) => Value::String(field.to_string()),
        Field::Group(row) => Value::Object(
            row.get_column_iter()
                .map(|(name, field)| Ok((name.clone(), value(field, data)?)))
                .collect::<Result<_, String>>()?,
        ),
        Field::ListInternal(list) => Value::Array(
            list.elements()
                .iter()
                .map(|field| value(field, data))
                .collect::<Result<_, String>>()?,
        ),
        Field::MapInternal(map) => Value::Object(
            map.entries()
                .iter()
                .map(|(key, field)| {
                    let key = match value(key, data)? {
                        Value::String(key) => key,
                        other => other.to_string(),
                    };
                    Ok((key, value(field, data)?))
                })
                .collect::<Result<_, String>>()?,
        ),
    })
}

/// JSON has no infinities and no NaN; they become null.
fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

thread_local! {
    /// True while a panic of this thread is going to be caught and told as an error.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls into the Parquet reader; errors and panics come back as words.
fn guarded<T>(call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    GUARDED.set(true);
    // A reader that has panicked is not used again, so no broken state can be seen.
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(false);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(payload) => Err(payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("the Parquet reader gave up")
            .to_owned()),
    }
}

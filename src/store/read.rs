//! Columns to values.

use rusqlite::types::Type;
use rusqlite::{Error, Row};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A column that holds a name of an enumeration, such as `rounds-done`.
pub(super) fn name<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    from_name(row.get(column)?, column)
}

/// The same for a column that may be NULL.
pub(super) fn maybe_name<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    row.get::<_, Option<String>>(column)?
        .map(|text| from_name(text, column))
        .transpose()
}

/// A column that holds names with commas between them.
pub(super) fn names<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<T>> {
    row.get::<_, String>(column)?
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| from_name(name.to_owned(), column))
        .collect()
}

fn from_name<T: DeserializeOwned>(text: String, column: usize) -> rusqlite::Result<T> {
    serde_json::from_value(Value::String(text)).map_err(|error| conversion(column, error))
}

/// A column that holds JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| conversion(column, error))
}

/// A column that holds JSON or NULL.
pub(super) fn maybe_json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    row.get::<_, Option<String>>(column)?
        .map(|text| serde_json::from_str(&text).map_err(|error| conversion(column, error)))
        .transpose()
}

/// A count or a sum, which is never negative.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(column, number))
}

fn conversion(column: usize, error: serde_json::Error) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

//! What the rows of a dataset are made of: one description for Parquet's types, for the card, and for
//! checking a row.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema};
use serde_json::Value;

/// A named part of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Text,
    Bool,
    /// 64 bits.
    Float,
    List(Box<Kind>),
    Struct(Vec<Column>),
}

impl Kind {
    /// A list of `{role, content}`.
    pub fn messages() -> Self {
        Kind::List(Box::new(Kind::message()))
    }

    /// `{role, content}`.
    pub fn message() -> Self {
        Kind::Struct(vec![text("role"), text("content")])
    }

    fn arrow(&self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Bool => DataType::Boolean,
            Kind::Float => DataType::Float64,
            Kind::List(inner) => DataType::List(Arc::new(Field::new("item", inner.arrow(), true))),
            Kind::Struct(columns) => DataType::Struct(fields(columns)),
        }
    }

    /// As the card names it, for kinds without parts.
    fn dtype(&self) -> Option<&'static str> {
        match self {
            Kind::Text => Some("string"),
            Kind::Bool => Some("bool"),
            Kind::Float => Some("float64"),
            Kind::List(_) | Kind::Struct(_) => None,
        }
    }

    fn check(&self, value: &Value, place: &str) -> Result<(), String> {
        let fits = match (self, value) {
            (Kind::Text, Value::String(_)) | (Kind::Bool, Value::Bool(_)) => true,
            (Kind::Float, Value::Number(_)) => true,
            (Kind::List(inner), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    inner.check(item, &format!("{place}[{index}]"))?;
                }
                true
            }
            (Kind::Struct(columns), Value::Object(_)) => {
                return check_at(columns, value, &format!("{place}."));
            }
            _ => false,
        };
        match fits {
            true => Ok(()),
            false => Err(format!(
                "`{place}` is {} and not {}",
                shape(value),
                self.words()
            )),
        }
    }

    /// What it holds, for people.
    pub fn shown(&self, kind: super::Kind) -> String {
        let flat = kind == super::Kind::Csv && matches!(self, Kind::List(_) | Kind::Struct(_));
        let what = match self {
            Kind::List(inner) => match &**inner {
                Kind::Struct(columns) => {
                    let names: Vec<_> = columns.iter().map(|column| column.name).collect();
                    format!("list of {{{}}}", names.join(", "))
                }
                inner => format!("list of {}", inner.shown(super::Kind::Jsonl)),
            },
            Kind::Struct(columns) => {
                let names: Vec<_> = columns.iter().map(|column| column.name).collect();
                format!("{{{}}}", names.join(", "))
            }
            kind => kind.dtype().unwrap_or("string").to_owned(),
        };
        match flat {
            true => format!("{what}, as JSON text"),
            false => what,
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Bool => "true or false",
            Kind::Float => "a number",
            Kind::List(_) => "a list",
            Kind::Struct(_) => "an object",
        }
    }
}

/// A column that is never null.
pub(super) fn column(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        nullable: false,
    }
}

/// A column of texts.
pub(super) fn text(name: &'static str) -> Column {
    column(name, Kind::Text)
}

/// A column that may be null.
pub(super) fn nullable(name: &'static str, kind: Kind) -> Column {
    Column {
        nullable: true,
        ..column(name, kind)
    }
}

/// The same columns where a table has no lists: those are JSON texts there.
pub(super) fn flat(columns: &[Column]) -> Vec<Column> {
    let flatten = |column: &Column| Column {
        kind: match column.kind {
            Kind::List(_) | Kind::Struct(_) => Kind::Text,
            // Readers of tables have no boolean that may be missing.
            Kind::Bool if column.nullable => Kind::Text,
            ref kind => kind.clone(),
        },
        ..column.clone()
    };
    columns.iter().map(flatten).collect()
}

/// The types of a Parquet file.
pub(super) fn schema(columns: &[Column]) -> Schema {
    Schema::new(fields(columns))
}

fn fields(columns: &[Column]) -> Fields {
    // Nullable throughout, as the `datasets` library writes them: it compares types when it joins tables.
    let field = |column: &Column| Field::new(column.name, column.kind.arrow(), true);
    columns.iter().map(field).collect()
}

/// `features` of a dataset card, each line indented by `indent` spaces.
pub(super) fn features(columns: &[Column], indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut out = String::new();
    for column in columns {
        out.push_str(&format!("{pad}- name: {}\n", column.name));
        feature(&column.kind, indent + 2, &mut out);
    }
    out
}

fn feature(kind: &Kind, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match kind {
        Kind::Struct(columns) => {
            out.push_str(&format!("{pad}struct:\n{}", features(columns, indent)));
        }
        Kind::List(inner) => match &**inner {
            Kind::Struct(columns) => {
                out.push_str(&format!("{pad}list:\n{}", features(columns, indent)));
            }
            inner => match inner.dtype() {
                Some(dtype) => out.push_str(&format!("{pad}list: {dtype}\n")),
                None => {
                    out.push_str(&format!("{pad}list:\n"));
                    feature(inner, indent + 2, out);
                }
            },
        },
        kind => out.push_str(&format!(
            "{pad}dtype: {}\n",
            kind.dtype().unwrap_or("string")
        )),
    }
}

/// Whether a row has these columns, and no other; the error says what is wrong with it.
pub(super) fn check(columns: &[Column], row: &Value) -> Result<(), String> {
    check_at(columns, row, "")
}

fn check_at(columns: &[Column], row: &Value, place: &str) -> Result<(), String> {
    let Value::Object(fields) = row else {
        return Err(format!("the row is {} and not an object", shape(row)));
    };
    for column in columns {
        let name = format!("{place}{}", column.name);
        match fields.get(column.name) {
            Some(Value::Null) | None if column.nullable => {}
            None => return Err(format!("there is no `{name}`")),
            Some(value) => column.kind.check(value, &name)?,
        }
    }
    let known = |name: &str| columns.iter().any(|column| column.name == name);
    match fields.keys().find(|name| !known(name)) {
        Some(name) => Err(format!(
            "`{place}{}` is no column of this format",
            name.chars()
                .take(40)
                .flat_map(char::escape_debug)
                .collect::<String>()
        )),
        None => Ok(()),
    }
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// About how many bytes a value takes in an Arrow table, which is what a card's `num_bytes` counts.
pub(super) fn arrow_bytes(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Number(_) => 8,
        Value::String(text) => 4 + text.len() as u64,
        Value::Array(items) => 4 + items.iter().map(arrow_bytes).sum::<u64>(),
        Value::Object(fields) => fields.values().map(arrow_bytes).sum(),
    }
}

/// The same for a row of a table without lists: those are JSON texts there.
pub(super) fn flat_bytes(row: &Value) -> u64 {
    let cell = |value: &Value| match value {
        Value::Array(_) | Value::Object(_) => 4 + value.to_string().len() as u64,
        value => arrow_bytes(value),
    };
    let fields = row.as_object().into_iter().flat_map(|row| row.values());
    fields.map(cell).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn columns() -> Vec<Column> {
        vec![
            column("messages", Kind::messages()),
            nullable("p", Kind::Float),
            column("labels", Kind::List(Box::new(Kind::Bool))),
            column(
                "history",
                Kind::List(Box::new(Kind::List(Box::new(Kind::Text)))),
            ),
        ]
    }

    #[test]
    fn a_row_is_held_against_its_columns_down_to_the_last_part() {
        let good = json!({"messages": [{"role": "user", "content": "Hi"}], "p": null, "labels": [true],
            "history": [["a", "b"]]});
        assert_eq!(check(&columns(), &good), Ok(()));
        let faults = [
            (
                "messages",
                json!([{"role": "user"}]),
                "there is no `messages[0].content`",
            ),
            (
                "messages",
                json!("Hi"),
                "`messages` is a text and not a list",
            ),
            (
                "labels",
                json!([true, 1]),
                "`labels[1]` is a number and not true or false",
            ),
            ("p", json!("0.5"), "`p` is a text and not a number"),
            ("extra", json!(1), "`extra` is no column of this format"),
            (
                "history",
                json!([["a", null]]),
                "`history[0][1]` is null and not a text",
            ),
        ];
        for (name, value, expected) in faults {
            let mut row = good.clone();
            row[name] = value;
            assert_eq!(check(&columns(), &row), Err(expected.to_owned()));
        }
        assert!(check(&columns(), &json!([])).is_err());
    }

    #[test]
    fn the_card_writes_features_as_the_library_does() {
        let expected = "\
- name: messages
  list:
  - name: role
    dtype: string
  - name: content
    dtype: string
- name: p
  dtype: float64
- name: labels
  list: bool
- name: history
  list:
    list: string
";
        assert_eq!(features(&columns(), 0), expected);
    }

    #[test]
    fn lists_take_the_room_of_their_json_in_flat_tables() {
        let row = json!({"messages": [{"role": "user", "content": "Hi"}], "note": "abc", "p": 0.5});
        let list = r#"[{"role":"user","content":"Hi"}]"#.len() as u64;
        assert_eq!(flat_bytes(&row), (4 + list) + (4 + 3) + 8);
        assert_eq!(arrow_bytes(&row), (4 + (4 + 4) + (4 + 2)) + (4 + 3) + 8);
    }
}

//! JSON Lines: one object a line.

use std::fmt;
use std::fs::File;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::lines::{BARE_RETURN, FileLines};
use super::row::{Content, RawRow, describe, shown};
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
    let mut twice = None;
    match read(text, &mut twice) {
        Ok(Value::Object(fields)) => match twice {
            None => Ok(Content::Fields(fields)),
            Some(key) => Err(format!(
                "two fields are named {}; rename or delete one",
                shown(&key)
            )),
        },
        Ok(other) => Err(format!(
            "the line is {} and not an object; write {{\"prompt\": …}}",
            describe(&other)
        )),
        // Between values it would be white space.
        Err(_) if text.contains('\r') => Err(BARE_RETURN.to_owned()),
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

/// Reads a line. `twice` becomes a key that stands twice in one object, of which `serde_json` keeps the last.
fn read(text: &str, twice: &mut Option<String>) -> serde_json::Result<Value> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Reader(twice).deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// Reads values as `serde_json` does, and notes a key that stands twice.
struct Reader<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Reader(&mut *self.0))?;
            if fields.contains_key(&key) {
                self.0.get_or_insert_with(|| key.clone());
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Reader(&mut *self.0))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Map<String, Value>, String> {
        parse(text).map(|content| match content {
            Content::Fields(fields) => fields,
            Content::Text(text) => panic!("{text}"),
        })
    }

    #[test]
    fn values_are_those_of_serde_json() {
        let text = r#"{"b": [1, -2, 18446744073709551616, 0.1, true, null], "a": {"a": "\u00e9"}, "c": []}"#;
        let expected: Map<String, Value> = serde_json::from_str(text).unwrap();
        assert_eq!(fields(text), Ok(expected));
        for text in ["{\"a\": 1} x", "{\"a\": 1e999}", "{\"a\": 1,}"] {
            let told = serde_json::from_str::<Value>(text).unwrap_err();
            let column = format!("column {}", told.column());
            assert!(fields(text).unwrap_err().contains(&column), "{text}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_in_one_object_is_refused() {
        for (text, key) in [
            (r#"{"prompt": "a", "prompt": "b"}"#, "`prompt`"),
            (r#"{"id": 1, "prompt": "a", "id": 1}"#, "`id`"),
            (
                r#"{"messages": [{"role": "user", "content": "a", "content": "b"}]}"#,
                "`content`",
            ),
        ] {
            let told = fields(text).unwrap_err();
            assert_eq!(
                told,
                format!("two fields are named {key}; rename or delete one")
            );
        }
        assert!(fields(r#"{"a": {"k": 1}, "b": [{"k": 1}, {"k": 2}], "k": 1}"#).is_ok());
    }
}

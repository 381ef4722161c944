//! The form of a constitution file as a JSON Schema, for editors.
//!
//! It is made from the table that files are held against, and a test holds that table against the types
//! that the deserialiser fills. A schema cannot say everything (whether ids are unique, what templates
//! use, what `extends` finds); the linter does.

use serde_json::{Map, Value, json};

use super::form::{FILE, Key, Kind};
use super::language::LANGUAGES;

/// The schema in draft-07, which the YAML language server reads.
pub fn schema() -> Value {
    let mut schema = of(&FILE);
    if let Value::Object(fields) = &mut schema {
        let mut head = Map::new();
        head.insert(
            "$schema".to_owned(),
            json!("http://json-schema.org/draft-07/schema#"),
        );
        head.insert("title".to_owned(), json!("Constitution"));
        head.insert(
            "description".to_owned(),
            json!("The written principles that responses are held to."),
        );
        head.append(fields);
        *fields = head;
    }
    schema
}

/// The schema as the text of a file.
pub fn schema_text() -> String {
    // A value made of texts and numbers can always be written.
    let text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    text + "\n"
}

fn of(kind: &Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": "string"}),
        // What is written without quotes may look like a number to an editor.
        Kind::Words => json!({"type": ["string", "number", "boolean"]}),
        Kind::Template => json!({"type": "string", "maxLength": super::template::MAX_LENGTH}),
        Kind::Needle => json!({"type": "string", "minLength": 1}),
        Kind::Pattern => json!({"type": "string", "minLength": 1}),
        Kind::Id => json!({
            "type": ["string", "integer"],
            "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$",
            "maxLength": super::shape::MAX_ID,
        }),
        Kind::Language => {
            let codes: Vec<_> = LANGUAGES.iter().map(|(code, _)| *code).collect();
            json!({"enum": codes})
        }
        Kind::Schema => json!({"const": 1}),
        Kind::Number(least, most) => json!({"type": "number", "minimum": least, "maximum": most}),
        // Bounds that are those of the type say nothing, and cannot be written exactly as JSON numbers.
        Kind::Whole(i64::MIN, i64::MAX) => json!({"type": "integer"}),
        Kind::Whole(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::OneOf(words) => json!({"enum": words}),
        Kind::List(inner) => json!({"type": "array", "items": of(inner)}),
        Kind::OneOrMore(inner) => {
            let list = json!({"type": "array", "items": of(inner), "minItems": 1});
            json!({"anyOf": [of(inner), list]})
        }
        Kind::Map(_, keys) => mapping(keys),
    }
}

fn mapping(keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut schema = of(&key.kind);
        schema["description"] = json!(key.about);
        properties.insert(key.name.to_owned(), schema);
    }
    let required: Vec<_> = keys.iter().filter(|k| k.required).map(|k| k.name).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

//! The JSON Schema: in step with the file that ships, and as strict as it can be without refusing what
//! the loader takes.

use std::fs;
use std::path::Path;

use amend::constitution::layout::format;
use amend::constitution::{SHIPPED, schema, schema_text, starter};
use serde_json::Value;

#[test]
fn the_shipped_schema_is_the_one_that_is_printed() {
    let path = "constitutions/schema.json";
    let shipped = fs::read_to_string(path).unwrap();
    let mend = format!("amend constitution schema > {path}");
    assert!(
        shipped == schema_text(),
        "{path} is out of step; run `{mend}`"
    );
}

/// The part of draft-07 that the schema uses.
fn accepts(schema: &Value, value: &Value) -> bool {
    let fields = schema.as_object().unwrap();
    fields
        .iter()
        .all(|(keyword, wanted)| match keyword.as_str() {
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|t| is_type(t, value)),
                one => is_type(one, value),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "anyOf" => wanted
                .as_array()
                .unwrap()
                .iter()
                .any(|schema| accepts(schema, value)),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| accepts(wanted, item))),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
            "minLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap()),
            "pattern" => {
                let pattern = regex::Regex::new(wanted.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "minimum" => value.as_f64().is_none_or(|n| n >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= wanted.as_f64().unwrap()),
            "required" => wanted
                .as_array()
                .unwrap()
                .iter()
                .all(|key| value.get(key.as_str().unwrap()).is_some()),
            "properties" => value.as_object().is_none_or(|object| {
                object
                    .iter()
                    .all(|(key, value)| wanted.get(key).is_none_or(|schema| accepts(schema, value)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|object| {
                object
                    .keys()
                    .all(|key| schema["properties"].get(key).is_some())
            }),
            "$schema" | "title" | "description" => true,
            other => panic!("the schema uses `{other}`, which this test does not know"),
        })
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("the type `{other}`"),
    }
}

#[test]
fn what_the_loader_takes_the_schema_takes_and_mistakes_it_refuses() {
    let schema = schema();
    let text = starter("mine");
    let shipped = SHIPPED.iter().map(|it| it.text).chain([text.as_str()]);
    for text in shipped {
        let value: Value = serde_yaml::from_str(text).unwrap();
        assert!(accepts(&schema, &value), "{text}");
    }
    let file =
        |more: &str| format!("name: n\nprinciples: [{{id: a, critique: c, revision: r{more}}}]\n");
    let takes = |text: &str| {
        let value: Value = serde_yaml::from_str(text).unwrap();
        let taken = accepts(&schema, &value);
        // A file is laid out when the loader finds nothing wrong with its form.
        assert_eq!(taken, format(Path::new("c.yaml"), text).is_ok(), "{text}");
        taken
    };
    for good in [
        "",
        ", weight: 0",
        ", title: 7",
        ", check: {contains: x}",
        ", check: {contains: [x, y]}",
        ", precedence: -3",
    ] {
        assert!(takes(&file(good)), "{good}");
    }
    for bad in [
        ", wieght: 1",
        ", weight: -1",
        ", weight: '1'",
        ", severity: mild",
        ", check: {contains: []}",
        ", check: {json: 1}",
        ", check: {language: english}",
        ", tests: [{prompt: p}]",
        ", precedence: 1.5",
        ", tags: x",
        ", check: {min_words: -1}",
    ] {
        assert!(!takes(&file(bad)), "{bad}");
    }
    assert!(!takes("schema: 2\nname: n\n"));
    assert!(!takes("principles: []\n"));
    assert!(!takes(&file("").replace("id: a", "id: No Harm")));
}

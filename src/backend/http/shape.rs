//! A [`Shape`] as servers understand it: a JSON schema, a grammar for one field, and the reply put into
//! the form that the rest of the program reads. Pure.

use serde_json::{Map, Value, json};

use crate::generation::{Field, FieldKind};

/// Tokens that a field takes besides its text: its name and the punctuation.
const FIELD_TOKENS: u32 = 16;

/// The rest of a JSON string behind its opening quotation mark, in llama.cpp's grammar notation.
pub(super) const STRING_GRAMMAR: &str = r#"root ::= ([^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F]))* "\"""#;

/// One of the given words, in llama.cpp's grammar notation.
pub(super) fn words_grammar(options: &[String]) -> String {
    let words: Vec<String> = options
        .iter()
        .map(|word| Value::from(word.as_str()).to_string())
        .collect();
    format!("root ::= {}", words.join(" | "))
}

/// The JSON schema of an object with the given fields. Where `decided` is given, every decision has that
/// value.
pub(super) fn schema(fields: &[Field], decided: Option<bool>) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let kind = match &field.kind {
                FieldKind::Decision { .. } => match decided {
                    None => json!({"type": "boolean"}),
                    Some(answer) => json!({"type": "boolean", "enum": [answer]}),
                },
                FieldKind::Text { .. } => json!({"type": "string"}),
                FieldKind::OneOf { options } => json!({"type": "string", "enum": options}),
            };
            (field.name.clone(), kind)
        })
        .collect();
    let required: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The most tokens of a reply with the given fields.
pub(super) fn max_tokens(fields: &[Field]) -> u32 {
    fields
        .iter()
        .map(|field| {
            FIELD_TOKENS
                + match &field.kind {
                    FieldKind::Text { max_tokens } => *max_tokens,
                    FieldKind::Decision { .. } => 0,
                    FieldKind::OneOf { .. } => FIELD_TOKENS,
                }
        })
        .sum()
}

/// An object that holds nothing but a decision.
pub(super) fn decided(field: &str, decided: bool) -> String {
    format!("{{{}: {decided}}}", Value::from(field))
}

/// The reply in the order of the fields, with the decision that was read in place of the one that was
/// written. `None` where the reply holds no JSON object.
pub(super) fn in_form(fields: &[Field], reply: &str, decided: bool) -> Option<String> {
    let written = object(reply)?;
    let parts: Vec<String> = fields
        .iter()
        .filter_map(|field| {
            let value = match field.kind {
                FieldKind::Decision { .. } => Value::Bool(decided),
                _ => written.get(&field.name)?.clone(),
            };
            Some(format!("{}: {value}", Value::from(field.name.as_str())))
        })
        .collect();
    Some(format!("{{{}}}", parts.join(", ")))
}

/// The JSON object of a reply: alone, after a fence or a few words, or cut off at a limit.
fn object(reply: &str) -> Option<Map<String, Value>> {
    let reply = &reply[reply.find('{')?..];
    let mut values = serde_json::Deserializer::from_str(reply).into_iter::<Map<String, Value>>();
    if let Some(Ok(map)) = values.next() {
        return Some(map);
    }
    // Cut off inside a text: without up to an escape sequence at its end, it can be closed.
    let ends: Vec<usize> = reply.char_indices().map(|(at, _)| at).collect();
    let ends = std::iter::once(reply.len()).chain(ends.into_iter().rev().take(12));
    for end in ends {
        for close in ["\"}", "}"] {
            if let Ok(map) = serde_json::from_str(&format!("{}{close}", &reply[..end])) {
                return Some(map);
            }
        }
    }
    // Cut off between fields.
    let comma = reply.rfind(',')?;
    serde_json::from_str(&format!("{}}}", &reply[..comma])).ok()
}

/// What stands of a JSON string behind its opening quotation mark: the escaped text, and whether the
/// string was closed. A dangling escape sequence at the end is dropped.
pub(super) fn string_end(written: &str) -> (&str, bool) {
    let mut escaped = false;
    for (at, c) in written.char_indices() {
        match c {
            '"' if !escaped => return (&written[..at], true),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    let mut end = written.len();
    // An escape has twelve characters at most, in a pair of surrogates.
    for (at, _) in written.char_indices().rev().take(12) {
        let whole: Result<String, _> = serde_json::from_str(&format!("\"{}\"", &written[..end]));
        if whole.is_ok() {
            break;
        }
        end = at;
    }
    (&written[..end], false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict;

    fn fields() -> Vec<Field> {
        verdict::shape(0.5, 160).fields
    }

    #[test]
    fn the_schema_keeps_the_order_of_the_fields() {
        let schema = schema(&fields(), Some(true));
        let names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["violated", "quote", "critique", "severity"]);
        assert_eq!(schema["properties"]["violated"]["enum"], json!([true]));
        assert_eq!(
            schema["properties"]["severity"]["enum"],
            json!(["minor", "major", "critical"])
        );
    }

    #[test]
    fn replies_are_put_into_form() {
        let form = |reply: &str| in_form(&fields(), reply, true);
        let whole = r#"{"violated": true, "quote": "a", "critique": "b", "severity": "minor"}"#;
        assert_eq!(form(whole).unwrap(), whole);
        assert_eq!(
            form("```json\n{\"severity\":\"minor\",\"quote\":\"a\"}\n```").unwrap(),
            r#"{"violated": true, "quote": "a", "severity": "minor"}"#
        );
        assert_eq!(form("No critique needed."), None);
    }

    #[test]
    fn a_reply_that_was_cut_off_is_closed() {
        let form = |reply: &str| in_form(&fields(), reply, true).unwrap();
        for cut in [
            r#"{"violated": true, "quote": "one two"#,
            r#"{"violated": true, "quote": "one two\"#,
            r#"{"violated": true, "quote": "one two\u00"#,
            r#"{"violated": true, "quote": "one two", "#,
            r#"{"violated": true, "quote": "one two", "critique": "#,
        ] {
            assert_eq!(
                form(cut),
                r#"{"violated": true, "quote": "one two"}"#,
                "{cut}"
            );
        }
    }

    #[test]
    fn strings_end_at_their_quotation_mark_or_whole() {
        assert_eq!(string_end(r#"ab"#), ("ab", false));
        assert_eq!(string_end(r#"a\"b" tail"#), (r#"a\"b"#, true));
        assert_eq!(string_end(r"ab\"), ("ab", false));
        assert_eq!(string_end(r"ab\\"), (r"ab\\", false));
        assert_eq!(string_end(r"ab\u12"), ("ab", false));
        assert_eq!(string_end(r"ab\ud83d\ude"), ("ab", false));
        assert_eq!(string_end(""), ("", false));
    }

    #[test]
    fn words_become_a_grammar() {
        let options = ["minor".to_owned(), "a\"b".to_owned()];
        assert_eq!(words_grammar(&options), r#"root ::= "minor" | "a\"b""#);
    }
}

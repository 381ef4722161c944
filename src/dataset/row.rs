//! What makes a row a prompt: the same rules for every kind of file.

use serde_json::{Map, Number, Value};

use crate::generation::{Message, Role};

use super::ReadOptions;
use super::published;

/// The field that holds the prompt unless another one is named.
pub(super) const DEFAULT_FIELD: &str = "prompt";

/// The field that holds a conversation.
pub(super) const MESSAGES_FIELD: &str = "messages";

/// The field that names a prompt.
pub(super) const ID_FIELD: &str = "id";

/// The most bytes of an id.
const MAX_ID_BYTES: usize = 256;

/// A row as a file holds it.
pub(super) struct RawRow {
    /// Where it starts.
    pub line: u64,
    /// What it holds, or why it holds nothing.
    pub content: Result<Content, String>,
}

/// What a row holds.
pub(super) enum Content {
    /// A prompt and nothing else.
    Text(String),
    /// Named fields.
    Fields(Map<String, Value>),
}

/// What a prompt is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// The row's own id.
    pub own_id: Option<String>,
    /// The conversation; not empty, ends with the user.
    pub messages: Vec<Message>,
    /// Every other field.
    pub metadata: Map<String, Value>,
}

/// Reads a row; the error is the reason why it cannot be used.
pub(super) fn read(content: Content, options: &ReadOptions) -> Result<Parts, String> {
    let parts = match content {
        Content::Text(text) => Parts {
            own_id: None,
            messages: vec![Message::user(text)],
            metadata: Map::new(),
        },
        Content::Fields(fields) => read_fields(fields, &options.prompt_field)?,
    };
    check(&parts.messages, options.max_prompt_bytes)?;
    Ok(parts)
}

/// Whether columns of the given names can hold prompts; the error says what is missing.
pub(super) fn check_columns(names: &[String], prompt_field: &str) -> Result<(), String> {
    let fits = |name: &String| {
        name == prompt_field || (prompt_field == DEFAULT_FIELD && name == MESSAGES_FIELD)
    };
    let known = |wanted: &str| names.iter().any(|name| name == wanted);
    if names.iter().any(fits)
        || (prompt_field == DEFAULT_FIELD && published::recognise(known).is_some())
    {
        return Ok(());
    }
    Err(missing(names.iter().map(String::as_str), prompt_field))
}

fn missing<'a>(names: impl Iterator<Item = &'a str>, prompt_field: &str) -> String {
    let wanted = if prompt_field == DEFAULT_FIELD {
        "`prompt` or `messages`".to_owned()
    } else {
        shown(prompt_field)
    };
    let names: Vec<String> = names.take(20).map(shown).collect();
    let found = if names.is_empty() {
        "there are no fields".to_owned()
    } else {
        format!("found {}", names.join(", "))
    };
    format!("no field {wanted}: {found}; name the field that holds the prompt with --prompt-field")
}

fn read_fields(mut fields: Map<String, Value>, prompt_field: &str) -> Result<Parts, String> {
    let own = [DEFAULT_FIELD, MESSAGES_FIELD];
    if prompt_field == DEFAULT_FIELD
        && !own.iter().any(|name| fields.contains_key(*name))
        && let Some(suite) = published::recognise(|name| fields.contains_key(name))
    {
        suite.rename(&mut fields);
    }
    let present = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    let empty = |name: &str| {
        fields
            .get(name)
            .is_some_and(|value| value.as_str() == Some(""))
    };
    let by_messages = prompt_field == DEFAULT_FIELD && present(MESSAGES_FIELD);
    // Where a table has both columns, the one that a row does not use is an empty cell.
    let unused = by_messages && empty(prompt_field) && !empty(MESSAGES_FIELD);
    let field = if present(prompt_field) && !unused {
        prompt_field
    } else if by_messages {
        MESSAGES_FIELD
    } else if fields.contains_key(prompt_field) {
        return Err(format!(
            "the field {} is null; give it a text",
            shown(prompt_field)
        ));
    } else {
        return Err(missing(fields.keys().map(String::as_str), prompt_field));
    };
    let messages = match fields.shift_remove(field) {
        Some(Value::Array(items)) => read_messages(items, field)?,
        // Tables have no lists of their own, so a conversation is written as JSON there.
        Some(Value::String(text)) if field == MESSAGES_FIELD && text.trim().is_empty() => {
            return Err("the field `messages` is blank; fill it or delete the row".to_owned());
        }
        Some(Value::String(text)) if field == MESSAGES_FIELD => {
            let items = serde_json::from_str(&text).map_err(|error| {
                format!("the field `messages` is neither a list nor JSON text of one: {error}")
            })?;
            read_messages(items, field)?
        }
        Some(Value::String(text)) => vec![Message::user(text)],
        other => {
            return Err(format!(
                "the field {} is {} and not a text; use a string or a list of messages",
                shown(field),
                describe(&other.unwrap_or(Value::Null))
            ));
        }
    };
    let own_id = match fields.shift_remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if id.is_empty() => None,
        Some(Value::String(id)) => Some(check_id(id)?),
        Some(Value::Number(number)) if is_exact(&number) => Some(number.to_string()),
        Some(Value::Number(_)) => {
            return Err(
                "the id is a number of more digits than can be kept; write it as a string"
                    .to_owned(),
            );
        }
        Some(other) => {
            return Err(format!(
                "the id is {}; use a string or a number",
                describe(&other)
            ));
        }
    };
    Ok(Parts {
        own_id,
        messages,
        metadata: fields,
    })
}

/// Whether a number is kept as it was written: beyond 64 bits it is rounded, and two ids may become one.
fn is_exact(number: &Number) -> bool {
    const WHOLE: f64 = (1_u64 << 53) as f64;
    !number.is_f64() || number.as_f64().is_some_and(|value| value.abs() < WHOLE)
}

fn check_id(id: String) -> Result<String, String> {
    if id.len() > MAX_ID_BYTES {
        return Err(format!(
            "the id has {} bytes and {MAX_ID_BYTES} are allowed; shorten it",
            id.len()
        ));
    }
    if id.chars().any(char::is_control) || id.trim().is_empty() {
        return Err(format!(
            "the id {} is blank or holds control characters; use printable text",
            shown(&id)
        ));
    }
    Ok(id)
}

/// A list of turns; `field` names it in messages.
pub(super) fn read_messages(items: Vec<Value>, field: &str) -> Result<Vec<Message>, String> {
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| {
            let place = || format!("{field}[{index}]");
            let Value::Object(mut turn) = item else {
                return Err(format!(
                    "{} is {}; write {{\"role\": …, \"content\": …}}",
                    place(),
                    describe(&item)
                ));
            };
            let role = match turn.get("role").and_then(Value::as_str) {
                Some("system") => Role::System,
                Some("user") => Role::User,
                Some("assistant") => Role::Assistant,
                Some(other) => {
                    return Err(format!(
                        "{} has the role {}; use system, user or assistant",
                        place(),
                        shown(other)
                    ));
                }
                None => return Err(format!("{} has no role; add one", place())),
            };
            match turn.shift_remove("content") {
                Some(Value::String(content)) => Ok(Message { role, content }),
                other => Err(format!(
                    "{} has a content that is {}; use a text",
                    place(),
                    describe(&other.unwrap_or(Value::Null))
                )),
            }
        })
        .collect()
}

/// What a conversation must be.
pub(super) fn check(messages: &[Message], max_bytes: usize) -> Result<(), String> {
    match messages.last() {
        None => return Err("the list of messages is empty; end it with the user".to_owned()),
        Some(last) if last.role != Role::User => {
            return Err(format!(
                "the messages end with the {}; end them with the user",
                last.role.as_str()
            ));
        }
        Some(_) => {}
    }
    let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
    if bytes > max_bytes {
        return Err(format!(
            "the prompt has {bytes} bytes and {max_bytes} are allowed; shorten it"
        ));
    }
    for (index, message) in messages.iter().enumerate() {
        let what = || match messages.len() {
            1 => "the prompt".to_owned(),
            _ => format!("the content of message {index}"),
        };
        if message.content.contains('\0') {
            return Err(format!("{} holds a NUL character; remove it", what()));
        }
        if message.content.trim().is_empty() {
            return Err(format!("{} is blank; fill or delete it", what()));
        }
    }
    Ok(())
}

/// A name out of a file, made fit for a message.
pub(super) fn shown(name: &str) -> String {
    let head: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    let dots = if name.chars().nth(40).is_some() {
        "…"
    } else {
        ""
    };
    format!("`{head}{dots}`")
}

/// What a JSON value is, in words.
pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

//! From the shapes of other programs to YAML.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::path::Path;

use thiserror::Error;

use super::chats::system_chat;
use super::json::Json;
use super::{CRITIQUE, REVISION, Shape, escaped, markers};
use crate::constitution::error::{Level, excerpt};
use crate::constitution::layout::{format, quoted};
use crate::constitution::lint::lint_text;
use crate::constitution::shape::{MAX_ID, kebab};
use crate::constitution::template::MAX_LENGTH;
use crate::constitution::{Example, MAX_BYTES, MODELINE};

/// A constitution made of another program's file.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The YAML text, in the layout of all files and without errors.
    pub yaml: String,
    /// What of the file has no place in a constitution.
    pub notes: Vec<String>,
    /// How many principles there are.
    pub principles: usize,
}

/// Why a file cannot be imported.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ImportError {
    /// The file is not JSON.
    #[error("{line}:{column}: this is not JSON: {message}; mend it there, or name a JSON file")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// The file is JSON of another shape.
    #[error(" {0}")]
    Shape(String),
}

fn wrong<T>(message: impl Into<String>) -> Result<T, ImportError> {
    Err(ImportError::Shape(message.into()))
}

/// A principle as another program has it.
pub(super) struct Entry {
    /// What the file calls it, where it gives names.
    name: Option<String>,
    /// A name for people, where that is another one.
    title: Option<String>,
    pub critique: String,
    pub revision: String,
    pub examples: Vec<Example>,
}

/// Makes a constitution of a file in one of the shapes. Critique and revision requests lose their markers
/// and the white space around them; ids are made of names, and names that are no ids stay as titles.
///
/// # Errors
///
/// When the text is not JSON or has another shape, when a text is empty or too long, and when there is no
/// principle. Messages begin where the name of the file ends.
pub fn import(shape: Shape, text: &str, name: &str) -> Result<Imported, ImportError> {
    if text.len() > MAX_BYTES {
        return wrong(format!(
            "the file is larger than {MAX_BYTES} bytes; split it"
        ));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return wrong("the file is empty; name one with principles in it");
    }
    let json: Json = serde_json::from_str(text).map_err(|error| ImportError::Syntax {
        line: error.line(),
        column: error.column(),
        message: without_place(&error.to_string()),
    })?;
    let mut notes = Vec::new();
    let entries = match shape {
        Shape::Anthropic2022 => anthropic(&json, &mut notes),
        Shape::HfCai => hugging_face(&json, &mut notes),
        Shape::Langchain => langchain(&json, &mut notes),
    };
    let entries = entries.map_err(|error| guessed(error, shape, &json))?;
    if entries.is_empty() {
        return wrong("there is no principle in it; name a file that has some");
    }
    let yaml = yaml(name, &entries, &mut notes)?;
    Ok(Imported {
        yaml,
        notes,
        principles: entries.len(),
    })
}

/// The message of `serde_json`, whose place is said already.
fn without_place(message: &str) -> String {
    let cut = message.rsplit_once(" at line ");
    cut.map_or(message, |(message, _)| message).to_owned()
}

/// Adds to an error what to do: name the shape that the file seems to have, where that is another one.
fn guessed(error: ImportError, asked: Shape, json: &Json) -> ImportError {
    let first = match json {
        Json::Object(fields) => fields.first().map(|(_, value)| value),
        Json::List(items) => items.first(),
        _ => None,
    };
    let has = |key: &str| first.is_some_and(|first| first.get(key).is_some());
    let seems = if json.get("constitutions").is_some() {
        Some(Shape::HfCai)
    } else if has("critique_request") {
        Some(Shape::Langchain)
    } else if has("edit_request") {
        Some(Shape::Anthropic2022)
    } else {
        None
    };
    match (error, seems.filter(|seems| *seems != asked)) {
        (ImportError::Shape(message), Some(seems)) => ImportError::Shape(format!(
            "{message}; the file looks like `--from {}`",
            seems.as_str()
        )),
        (ImportError::Shape(message), None) => ImportError::Shape(format!(
            "{message}; correct that in the file, or name another shape with --from"
        )),
        (error, _) => error,
    }
}

/// The text of a field that must be there and say something.
fn text(entry: &Json, what: &str, key: &str, markers: [&str; 2]) -> Result<String, ImportError> {
    match entry.get(key) {
        Some(value) => plain(value, what, key, markers),
        None => wrong(format!("{what} has no `{key}`")),
    }
}

/// A text without its markers and the white space around it.
fn plain(value: &Json, what: &str, key: &str, around: [&str; 2]) -> Result<String, ImportError> {
    let Json::Text(text) = value else {
        let kind = value.kind();
        return wrong(format!("{what}: `{key}` must be a text, and is {kind}"));
    };
    let text = markers::without(text, around);
    if text.is_empty() {
        return wrong(format!("{what}: `{key}` is empty"));
    }
    if escaped(text).len() > MAX_LENGTH {
        return wrong(format!("{what}: `{key}` is longer than {MAX_LENGTH} bytes"));
    }
    Ok(text.to_owned())
}

/// Notes fields that are read by nothing, and keys that stand twice.
pub(super) fn note_others(object: &Json, what: &str, known: &[&str], notes: &mut Vec<String>) {
    let Json::Object(fields) = object else { return };
    let mut seen = BTreeSet::new();
    for (name, _) in fields {
        if !known.contains(&name.as_str()) {
            let name = excerpt(name);
            notes.push(format!("{what}: `{name}` has no place in a constitution"));
        } else if !seen.insert(name) {
            notes.push(format!(
                "{what}: `{name}` is there twice; the last one counts"
            ));
        }
    }
}

/// Notes the name of an entry that another one has: other programs would read the last one only.
fn note_twice<'a>(
    what: &str,
    name: &'a str,
    seen: &mut BTreeSet<&'a str>,
    notes: &mut Vec<String>,
) {
    if !seen.insert(name) {
        notes.push(format!(
            "{what} is there more than once; other programs read the last one only, here each becomes a principle"
        ));
    }
}

fn anthropic(json: &Json, notes: &mut Vec<String>) -> Result<Vec<Entry>, ImportError> {
    let Json::Object(fields) = json else {
        return wrong(format!(
            "the file must be an object, and is {}",
            json.kind()
        ));
    };
    let mut entries = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, value) in fields {
        let what = format!("entry `{}`", excerpt(name));
        note_twice(&what, name, &mut seen, notes);
        if !matches!(value, Json::Object(_)) {
            return wrong(format!("{what} must be an object, and is {}", value.kind()));
        }
        note_others(value, &what, &["prompt", "edit_request"], notes);
        let revision = match value.get("edit_request") {
            // Some copies have it in a list, as the prompts are.
            Some(Json::List(one)) if one.len() == 1 => {
                plain(&one[0], &what, "edit_request", REVISION)?
            }
            _ => text(value, &what, "edit_request", REVISION)?,
        };
        let prompts = match value.get("prompt") {
            Some(Json::List(prompts)) if prompts.is_empty() => {
                return wrong(format!("{what}: `prompt` is an empty list"));
            }
            Some(Json::List(prompts)) => prompts.as_slice(),
            Some(prompt) => std::slice::from_ref(prompt),
            None => return wrong(format!("{what} has no `prompt`")),
        };
        if prompts.len() > 1 {
            let count = prompts.len();
            notes.push(format!(
                "{what} has {count} prompts; each becomes a principle"
            ));
        }
        for prompt in prompts {
            entries.push(Entry {
                name: Some(name.clone()),
                title: None,
                critique: plain(prompt, &what, "prompt", CRITIQUE)?,
                revision: revision.clone(),
                examples: Vec::new(),
            });
        }
    }
    Ok(entries)
}

fn langchain(json: &Json, notes: &mut Vec<String>) -> Result<Vec<Entry>, ImportError> {
    let listed: Vec<(Option<&str>, &Json)> = match json {
        Json::List(items) => items.iter().map(|item| (None, item)).collect(),
        // One principle alone.
        Json::Object(_) if json.get("critique_request").is_some() => vec![(None, json)],
        Json::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(key, value)| (Some(key.as_str()), value))
                .collect()
        }
        other => {
            let kind = other.kind();
            return wrong(format!(
                "the file must be a list or an object, and is {kind}"
            ));
        }
    };
    let mut entries = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, (key, value)) in listed.into_iter().enumerate() {
        let what = match key {
            Some(key) => format!("entry `{}`", excerpt(key)),
            None => format!("entry {}", index + 1),
        };
        if let Some(key) = key {
            note_twice(&what, key, &mut seen, notes);
        }
        if !matches!(value, Json::Object(_)) {
            return wrong(format!("{what} must be an object, and is {}", value.kind()));
        }
        let known = ["name", "critique_request", "revision_request"];
        note_others(value, &what, &known, notes);
        let name = match value.get("name") {
            Some(Json::Text(name)) => Some(name.clone()),
            Some(other) => {
                let kind = other.kind();
                return wrong(format!("{what}: `name` must be a text, and is {kind}"));
            }
            None => None,
        };
        let key = key.map(str::to_owned);
        entries.push(Entry {
            title: name
                .clone()
                .filter(|name| key.as_ref().is_some_and(|key| key != name)),
            name: key.or(name),
            critique: text(value, &what, "critique_request", CRITIQUE)?,
            revision: text(value, &what, "revision_request", REVISION)?,
            examples: Vec::new(),
        });
    }
    Ok(entries)
}

fn hugging_face(json: &Json, notes: &mut Vec<String>) -> Result<Vec<Entry>, ImportError> {
    let listed = match json.get("constitutions") {
        Some(Json::List(listed)) => listed,
        Some(other) => {
            let kind = other.kind();
            return wrong(format!("`constitutions` must be a list, and is {kind}"));
        }
        None => return wrong("the file has no `constitutions`"),
    };
    note_others(json, "the file", &["constitutions", "system_chat"], notes);
    let mut entries = Vec::new();
    for (index, value) in listed.iter().enumerate() {
        let what = format!("entry {}", index + 1);
        note_others(value, &what, &["critic", "revision"], notes);
        entries.push(Entry {
            name: None,
            title: None,
            critique: text(value, &what, "critic", CRITIQUE)?,
            revision: text(value, &what, "revision", REVISION)?,
            examples: Vec::new(),
        });
    }
    if let Some(chats) = json.get("system_chat") {
        system_chat(chats, &mut entries, notes);
    }
    Ok(entries)
}

/// The file, in the layout of all files.
fn yaml(name: &str, entries: &[Entry], notes: &mut Vec<String>) -> Result<String, ImportError> {
    let mut text = format!(
        "{MODELINE}\nschema: 1\nname: {}\nversion: 0.1.0\n",
        quoted(name)
    );
    text.push_str("\nprinciples:\n");
    let mut ids = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let id = id(entry.name.as_deref(), index, &mut ids);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- id: {}", quoted(&id));
        let key = entry.name.as_ref().filter(|key| **key != id);
        if let (Some(key), Some(_)) = (key, &entry.title) {
            let key = excerpt(key);
            notes.push(format!(
                "entry `{key}` becomes `{id}`: the key is no id, or another one's, and its name is the title"
            ));
        }
        let title = entry.title.as_ref().or(entry.name.as_ref());
        if let Some(title) = title.filter(|title| **title != id && !title.trim().is_empty()) {
            let _ = writeln!(text, "  title: {}", quoted(title));
        }
        let _ = writeln!(text, "  critique: {}", quoted(&escaped(&entry.critique)));
        let _ = writeln!(text, "  revision: {}", quoted(&escaped(&entry.revision)));
        if !entry.examples.is_empty() {
            text.push_str("  examples:\n");
        }
        for example in &entry.examples {
            let _ = writeln!(text, "  - prompt: {}", quoted(&example.prompt));
            let _ = writeln!(text, "    response: {}", quoted(&example.response));
            let _ = writeln!(text, "    critique: {}", quoted(&example.critique));
            let _ = writeln!(text, "    revision: {}", quoted(&example.revision));
        }
    }
    let file = Path::new("the constitution made of it");
    let laid_out = format(file, &text).map_err(|error| ImportError::Shape(error.to_string()))?;
    let none = &mut |_: &Path| Err(io::ErrorKind::NotFound.into());
    let report = lint_text(file, &laid_out, none);
    let mut errors = report
        .problems
        .iter()
        .filter(|p| p.code.level() == Level::Error);
    match errors.next() {
        Some(error) => wrong(error.to_string()),
        None => Ok(laid_out),
    }
}

/// An id that no other principle has, made of a name where there is one.
fn id(name: Option<&str>, index: usize, taken: &mut BTreeSet<String>) -> String {
    let made = name.and_then(kebab);
    let stem = made.unwrap_or_else(|| format!("principle-{}", index + 1));
    let mut id = stem.clone();
    let mut number = 2;
    while !taken.insert(id.clone()) {
        let end = format!("-{number}");
        // Ids are ASCII.
        let room = stem.len().min(MAX_ID - end.len());
        id = format!("{}{end}", stem[..room].trim_end_matches('-'));
        number += 1;
    }
    id
}

//! General data that is mixed in, against forgetting.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::generation::{Message, Role};

use super::ExportError;
use super::lesson::{Draws, Lesson};
use super::manifest::ReplayEntry;
use super::table::{self, RowIter};

/// What to mix in.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayOptions {
    /// JSONL or Parquet, with `messages` that end with the assistant, or `prompt` and one of `completion`,
    /// `response`, `output` and `answer`; for pairs with `prompt`, `chosen` and `rejected`.
    pub path: PathBuf,
    /// Rows of it for each row of the chains.
    pub ratio: f64,
}

/// The file, as far as it was read.
pub(super) struct Replay {
    options: ReplayOptions,
    digest: Digest,
    rows: RowIter,
    taken: u64,
    skipped: u64,
    first_fault: Option<String>,
}

impl Replay {
    /// Opens the file.
    pub fn open(options: &ReplayOptions) -> Result<Self, ExportError> {
        let failed = |reason: String| ExportError::Replay {
            path: options.path.clone(),
            reason,
        };
        let ending = options.path.extension().and_then(|ending| ending.to_str());
        let kind = match ending {
            Some("jsonl" | "ndjson") => table::Kind::Jsonl,
            Some("parquet") => table::Kind::Parquet,
            _ => {
                return Err(failed(
                    "is neither .jsonl nor .parquet; give --replay one of these".to_owned(),
                ));
            }
        };
        Ok(Self {
            options: options.clone(),
            digest: digest(&options.path).map_err(failed)?,
            rows: table::read(kind, &[], &options.path).map_err(failed)?,
            taken: 0,
            skipped: 0,
            first_fault: None,
        })
    }

    /// Rows taken so far.
    pub fn rows(&self) -> u64 {
        self.taken
    }

    /// How many there should be beside so many rows of chains, while more of those come.
    pub fn wanted(&self, rows: u64) -> u64 {
        (rows as f64 * self.options.ratio).floor() as u64
    }

    /// The same where no more come: at least one.
    pub fn wanted_at_the_end(&self, rows: u64) -> u64 {
        ((rows as f64 * self.options.ratio).round() as u64).max(1)
    }

    /// The next row that can be used; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the file ends without any such row.
    pub fn next(&mut self, draws: Draws) -> Result<Option<Lesson>, ExportError> {
        for (line, row) in &mut self.rows {
            let lesson = row.and_then(|row| match draws {
                Draws::Pairs => pair(&row),
                _ => answer(&row),
            });
            match lesson {
                Ok(lesson) => return Ok(Some(lesson)),
                Err(reason) => {
                    self.skipped += 1;
                    let fault = || format!("line {line}: {reason}");
                    self.first_fault.get_or_insert_with(fault);
                }
            }
        }
        let reason = match &self.first_fault {
            Some(fault) if self.taken == 0 => format!("no row can be used; the first: {fault}"),
            None if self.taken + self.skipped == 0 => {
                "holds no row; give --replay a file with rows".to_owned()
            }
            _ => return Ok(None),
        };
        Err(ExportError::Replay {
            path: self.options.path.clone(),
            reason,
        })
    }

    /// The row that came last was written.
    pub fn taken(&mut self) {
        self.taken += 1;
    }

    /// It was not.
    pub fn passed_over(&mut self) {
        self.skipped += 1;
    }

    /// What the manifest says.
    pub fn entry(&self) -> ReplayEntry {
        let name = self.options.path.file_name().unwrap_or_default();
        ReplayEntry {
            file: name.to_string_lossy().into_owned(),
            b3: self.digest.to_string(),
            ratio: self.options.ratio,
            rows: self.taken,
            skipped: self.skipped,
        }
    }
}

fn digest(path: &Path) -> Result<Digest, String> {
    let failed =
        |error: std::io::Error| format!("cannot be read: {error}; check its path and permissions");
    if !path.metadata().map_err(failed)?.is_file() {
        return Err("is not a regular file; give --replay one".to_owned());
    }
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(File::open(path).map_err(failed)?)
        .map_err(failed)?;
    Ok(Digest::from_hash(hasher.finalize()))
}

fn answer(row: &Value) -> Result<Lesson, String> {
    let fields = fields(row)?;
    if let Some(messages) = fields.get("messages") {
        let mut prompt = conversation(messages, "messages")?;
        return match prompt.pop() {
            Some(last) if last.role == Role::Assistant => checked(prompt, vec![last.content]),
            _ => Err("`messages` does not end with the assistant".to_owned()),
        };
    }
    let names = ["completion", "response", "output", "answer"];
    let name = names.into_iter().find(|name| fields.contains_key(*name));
    let name =
        name.ok_or("there is neither `messages` nor `prompt` with `completion` or `response`")?;
    checked(prompt(fields)?, vec![said(&fields[name], name)?])
}

fn pair(row: &Value) -> Result<Lesson, String> {
    let fields = fields(row)?;
    let side = |name: &str| fields.get(name).ok_or(format!("there is no `{name}`"));
    let (chosen, rejected) = (side("chosen")?, side("rejected")?);
    if fields.contains_key("prompt") {
        return checked(
            prompt(fields)?,
            vec![said(chosen, "chosen")?, said(rejected, "rejected")?],
        );
    }
    let (mut one, mut other) = (
        conversation(chosen, "chosen")?,
        conversation(rejected, "rejected")?,
    );
    match (one.pop(), other.pop()) {
        (Some(a), Some(b)) if one == other => checked(one, vec![a.content, b.content]),
        _ => Err("`chosen` and `rejected` do not begin with the same prompt".to_owned()),
    }
}

fn checked(prompt: Vec<Message>, mut texts: Vec<String>) -> Result<Lesson, String> {
    if prompt.last().is_none_or(|last| last.role != Role::User) {
        return Err("the prompt does not end with the user".to_owned());
    }
    if prompt.iter().any(|turn| turn.content.trim().is_empty()) {
        return Err("a message of the prompt is blank".to_owned());
    }
    if texts.iter().any(|text| text.trim().is_empty()) {
        return Err("an answer is blank".to_owned());
    }
    match (texts.pop(), texts.pop()) {
        (Some(response), None) => Ok(Lesson::Answer { prompt, response }),
        (Some(rejected), Some(chosen)) if chosen.trim() != rejected.trim() => Ok(Lesson::Pair {
            prompt,
            chosen,
            rejected,
            probability: None,
        }),
        _ => Err("`chosen` and `rejected` are the same".to_owned()),
    }
}

fn fields(row: &Value) -> Result<&Map<String, Value>, String> {
    row.as_object().ok_or("the row is not an object".to_owned())
}

fn prompt(fields: &Map<String, Value>) -> Result<Vec<Message>, String> {
    match fields.get("prompt") {
        Some(Value::String(text)) => Ok(vec![Message::user(text)]),
        Some(value) => conversation(value, "prompt"),
        None => Err("there is no `prompt`".to_owned()),
    }
}

/// An answer: a text, one message of the assistant, or a list of one.
fn said(value: &Value, name: &str) -> Result<String, String> {
    let content = match value {
        Value::String(text) => Some(text.as_str()),
        Value::Array(turns) if turns.len() == 1 => of_assistant(&turns[0]),
        turn => of_assistant(turn),
    };
    let content = content.ok_or_else(|| format!("`{name}` is not one answer"))?;
    Ok(content.to_owned())
}

/// What a message says, unless it tells that somebody else says it.
fn of_assistant(turn: &Value) -> Option<&str> {
    let role = turn.get("role");
    let own = role.is_none_or(|role| role == "assistant");
    turn["content"].as_str().filter(|_| own)
}

fn conversation(value: &Value, name: &str) -> Result<Vec<Message>, String> {
    let turns = value
        .as_array()
        .ok_or_else(|| format!("`{name}` is not a list of messages"))?;
    let turn = |turn: &Value| {
        let role = match turn["role"].as_str() {
            Some("system") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => {
                return Err(format!(
                    "`{name}` has a role other than system, user and assistant"
                ));
            }
        };
        let content = turn["content"].as_str();
        let content = content.ok_or_else(|| format!("`{name}` has a content that is no text"))?;
        Ok(Message::new(role, content))
    };
    turns.iter().map(turn).collect()
}

//! LLaMA-Factory's `sharegpt` form: `conversations` of human and gpt in turn, and `system` beside them.

use serde_json::{Value, json};

use super::{Layout, other};
use crate::export::columns::{Column, Kind, column, text};
use crate::export::lesson::{Apart, Draws, Lesson, Misfit, apart};
use crate::generation::{Message, Role};

/// `conversations`, `system`.
pub(super) struct LlamafactorySft;

impl Layout for LlamafactorySft {
    fn draws(&self) -> Draws {
        Draws::Answers
    }

    fn columns(&self) -> Vec<Column> {
        vec![column("conversations", turns_kind()), text("system")]
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        let Lesson::Answer { prompt, response } = lesson else {
            return Err(other());
        };
        let parts = apart(prompt).ok_or(Misfit::RolesDoNotAlternate)?;
        let mut conversations = turns(&parts);
        conversations.push(gpt(response));
        Ok(json!({"conversations": conversations, "system": parts.system.unwrap_or_default()}))
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        let mut prompt = read_turns(row)?;
        match prompt.pop() {
            Some(last) if last.role == Role::Assistant => Ok(Lesson::Answer {
                prompt,
                response: last.content,
            }),
            _ => Err("`conversations` does not end with gpt".to_owned()),
        }
    }
}

/// A list of `{from, value}`.
pub(super) fn turns_kind() -> Kind {
    Kind::List(Box::new(turn_kind()))
}

/// `{from, value}`.
pub(super) fn turn_kind() -> Kind {
    Kind::Struct(vec![text("from"), text("value")])
}

/// The turns of a prompt, its system message aside.
pub(super) fn turns(parts: &Apart<'_>) -> Vec<Value> {
    let mut turns = Vec::new();
    for (asked, answered) in &parts.history {
        turns.push(human(asked));
        turns.push(gpt(answered));
    }
    turns.push(human(parts.question));
    turns
}

fn human(text: &str) -> Value {
    json!({"from": "human", "value": text})
}

/// A turn of the model.
pub(super) fn gpt(text: &str) -> Value {
    json!({"from": "gpt", "value": text})
}

/// Reads `system` and `conversations`.
pub(super) fn read_turns(row: &Value) -> Result<Vec<Message>, String> {
    let system = row["system"].as_str().filter(|system| !system.is_empty());
    let mut messages: Vec<_> = system
        .map(|system| Message::new(Role::System, system))
        .into_iter()
        .collect();
    for (index, turn) in row["conversations"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let role = match turn["from"].as_str() {
            Some("human") => Role::User,
            Some("gpt") => Role::Assistant,
            _ => {
                return Err(format!(
                    "`conversations[{index}].from` is neither human nor gpt"
                ));
            }
        };
        messages.push(Message::new(
            role,
            turn["value"].as_str().unwrap_or_default(),
        ));
    }
    Ok(messages)
}

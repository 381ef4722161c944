//! LLaMA-Factory's ranking form: `conversations` up to the question, `chosen` and `rejected` as one turn each.

use serde_json::{Value, json};

use super::llamafactory_sft::{gpt, read_turns, turn_kind, turns, turns_kind};
use super::{Layout, other};
use crate::export::columns::{Column, column, text};
use crate::export::lesson::{Draws, Lesson, Misfit, apart};

/// `conversations`, `chosen`, `rejected`, `system`.
pub(super) struct LlamafactoryDpo;

impl Layout for LlamafactoryDpo {
    fn draws(&self) -> Draws {
        Draws::Pairs
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            column("conversations", turns_kind()),
            column("chosen", turn_kind()),
            column("rejected", turn_kind()),
            text("system"),
        ]
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        let Lesson::Pair {
            prompt,
            chosen,
            rejected,
            ..
        } = lesson
        else {
            return Err(other());
        };
        let parts = apart(prompt).ok_or(Misfit::RolesDoNotAlternate)?;
        Ok(json!({
            "conversations": turns(&parts),
            "chosen": gpt(chosen),
            "rejected": gpt(rejected),
            "system": parts.system.unwrap_or_default(),
        }))
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        let answer = |name: &str| match row[name]["from"].as_str() {
            Some("gpt") => Ok(row[name]["value"].as_str().unwrap_or_default().to_owned()),
            _ => Err(format!("`{name}` is not a turn of gpt")),
        };
        Ok(Lesson::Pair {
            prompt: read_turns(row)?,
            chosen: answer("chosen")?,
            rejected: answer("rejected")?,
            probability: None,
        })
    }
}

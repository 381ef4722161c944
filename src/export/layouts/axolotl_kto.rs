//! axolotl's KTO: `system`, `prompt`, `completion` and `label`, plain texts.

use serde_json::{Value, json};

use super::{Layout, other, string};
use crate::export::columns::{Column, Kind, column, nullable, text};
use crate::export::lesson::{Draws, Lesson, Misfit, apart, together};

/// `system`, `prompt`, `completion`, `label`. It knows one question and one answer and no more. Where there is no
/// `system` it is empty and not null: who reads JSONL files without the card takes types from the first rows, and
/// nulls have none.
pub(super) struct AxolotlKto;

impl Layout for AxolotlKto {
    fn draws(&self) -> Draws {
        Draws::Unpaired
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            nullable("system", Kind::Text),
            text("prompt"),
            text("completion"),
            column("label", Kind::Bool),
        ]
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        let Lesson::Unpaired {
            prompt,
            completion,
            good,
        } = lesson
        else {
            return Err(other());
        };
        let parts = apart(prompt).ok_or(Misfit::RolesDoNotAlternate)?;
        if !parts.history.is_empty() {
            return Err(Misfit::SeveralTurns);
        }
        Ok(json!({
            "system": parts.system.unwrap_or_default(),
            "prompt": parts.question,
            "completion": completion,
            "label": good,
        }))
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        let system = row["system"].as_str().filter(|system| !system.is_empty());
        Ok(Lesson::Unpaired {
            prompt: together(system, &[], &string(row, "prompt")),
            completion: string(row, "completion"),
            good: row["label"] == true,
        })
    }
}

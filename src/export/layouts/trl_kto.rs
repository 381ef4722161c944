//! TRL's KTOTrainer: `prompt`, `completion` and whether it is a good one.

use serde_json::{Value, json};

use super::{Layout, answer, message_list, messages, other, turn};
use crate::export::columns::{Column, Kind, column};
use crate::export::lesson::{Draws, Lesson, Misfit};

/// `prompt`, `completion`, `label`.
pub(super) struct TrlKto;

impl Layout for TrlKto {
    fn draws(&self) -> Draws {
        Draws::Unpaired
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            column("prompt", Kind::messages()),
            column("completion", Kind::messages()),
            column("label", Kind::Bool),
        ]
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        match lesson {
            Lesson::Unpaired {
                prompt,
                completion,
                good,
            } => Ok(json!({
                "prompt": message_list(prompt),
                "completion": turn(completion),
                "label": good,
            })),
            _ => Err(other()),
        }
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        Ok(Lesson::Unpaired {
            prompt: messages(row, "prompt")?,
            completion: answer(row, "completion")?,
            good: row["label"] == true,
        })
    }
}

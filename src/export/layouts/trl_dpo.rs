//! TRL's DPOTrainer: `prompt`, `chosen` and `rejected`, the last two only the assistant's turn.

use serde_json::{Value, json};

use super::{Layout, answer, message_list, messages, other, turn};
use crate::export::columns::{Column, Kind, column};
use crate::export::lesson::{Draws, Lesson, Misfit};

/// `prompt`, `chosen`, `rejected`.
pub(super) struct TrlDpo;

impl Layout for TrlDpo {
    fn draws(&self) -> Draws {
        Draws::Pairs
    }

    fn columns(&self) -> Vec<Column> {
        ["prompt", "chosen", "rejected"]
            .map(|name| column(name, Kind::messages()))
            .to_vec()
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        match lesson {
            Lesson::Pair {
                prompt,
                chosen,
                rejected,
                ..
            } => Ok(json!({
                "prompt": message_list(prompt),
                "chosen": turn(chosen),
                "rejected": turn(rejected),
            })),
            _ => Err(other()),
        }
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        Ok(Lesson::Pair {
            prompt: messages(row, "prompt")?,
            chosen: answer(row, "chosen")?,
            rejected: answer(row, "rejected")?,
            probability: None,
        })
    }
}

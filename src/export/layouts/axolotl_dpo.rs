//! axolotl's `type: chat_template.default` for preferences: `messages`, and `chosen` and `rejected` as one
//! message each.

use serde_json::{Value, json};

use super::{Layout, message, message_list, messages, other, single};
use crate::export::columns::{Column, Kind, column};
use crate::export::lesson::{Draws, Lesson, Misfit};
use crate::generation::Message;

/// `messages`, `chosen`, `rejected`.
pub(super) struct AxolotlDpo;

impl Layout for AxolotlDpo {
    fn draws(&self) -> Draws {
        Draws::Pairs
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            column("messages", Kind::messages()),
            column("chosen", Kind::message()),
            column("rejected", Kind::message()),
        ]
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        match lesson {
            Lesson::Pair {
                prompt,
                chosen,
                rejected,
                ..
            } => Ok(json!({
                "messages": message_list(prompt),
                "chosen": message(&Message::assistant(chosen)),
                "rejected": message(&Message::assistant(rejected)),
            })),
            _ => Err(other()),
        }
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        Ok(Lesson::Pair {
            prompt: messages(row, "messages")?,
            chosen: single(row, "chosen")?,
            rejected: single(row, "rejected")?,
            probability: None,
        })
    }
}

//! OpenAI's preference fine-tuning: `input.messages`, `preferred_output`, `non_preferred_output`.

use serde_json::{Value, json};

use super::{Layout, answer, message_list, messages, other, turn};
use crate::export::columns::{Column, Kind, column};
use crate::export::lesson::{Draws, Lesson, Misfit};

/// `input`, `preferred_output`, `non_preferred_output`.
pub(super) struct OpenaiDpo;

impl Layout for OpenaiDpo {
    fn draws(&self) -> Draws {
        Draws::Pairs
    }

    fn columns(&self) -> Vec<Column> {
        let input = Kind::Struct(vec![column("messages", Kind::messages())]);
        vec![
            column("input", input),
            column("preferred_output", Kind::messages()),
            column("non_preferred_output", Kind::messages()),
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
                "input": {"messages": message_list(prompt)},
                "preferred_output": turn(chosen),
                "non_preferred_output": turn(rejected),
            })),
            _ => Err(other()),
        }
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        Ok(Lesson::Pair {
            prompt: messages(&row["input"], "messages")?,
            chosen: answer(row, "preferred_output")?,
            rejected: answer(row, "non_preferred_output")?,
            probability: None,
        })
    }
}

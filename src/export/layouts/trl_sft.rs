//! TRL's SFTTrainer: `messages`, the whole conversation with the response to learn at its end.

use serde_json::{Value, json};

use super::{Layout, conversation, other, whole};
use crate::export::columns::{Column, Kind, column};
use crate::export::lesson::{Draws, Lesson, Misfit};

/// `messages`.
pub(super) struct TrlSft;

impl Layout for TrlSft {
    fn draws(&self) -> Draws {
        Draws::Answers
    }

    fn columns(&self) -> Vec<Column> {
        vec![column("messages", Kind::messages())]
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        match lesson {
            Lesson::Answer { prompt, response } => Ok(json!({"messages": whole(prompt, response)})),
            _ => Err(other()),
        }
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        let (prompt, response) = conversation(row, "messages")?;
        Ok(Lesson::Answer { prompt, response })
    }
}

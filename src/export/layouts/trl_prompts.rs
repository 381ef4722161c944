//! TRL's trainers that write their own answers (GRPO, RLOO): `prompt`.

use serde_json::{Value, json};

use super::{Layout, message_list, messages, other};
use crate::export::columns::{Column, Kind, column};
use crate::export::lesson::{Draws, Lesson, Misfit};

/// `prompt`.
pub(super) struct TrlPrompts;

impl Layout for TrlPrompts {
    fn draws(&self) -> Draws {
        Draws::Prompts
    }

    fn columns(&self) -> Vec<Column> {
        vec![column("prompt", Kind::messages())]
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        match lesson {
            Lesson::Prompt { prompt } => Ok(json!({"prompt": message_list(prompt)})),
            _ => Err(other()),
        }
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        Ok(Lesson::Prompt {
            prompt: messages(row, "prompt")?,
        })
    }
}

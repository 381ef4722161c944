//! Training rows for critiques: the request as the model saw it, the reply, and what was decided.

use serde_json::{Value, json};

use super::{Layout, conversation, other, string, whole};
use crate::export::columns::{Column, Kind, column, nullable, text};
use crate::export::lesson::{Critique, Draws, Lesson, Misfit};

/// `messages` as SFT trainers read them, with `principle`, `violated` and `probability` beside them.
pub(super) struct Critic;

impl Layout for Critic {
    fn draws(&self) -> Draws {
        Draws::Critiques
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            column("messages", Kind::messages()),
            text("principle"),
            nullable("violated", Kind::Bool),
            nullable("probability", Kind::Float),
        ]
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        match lesson {
            Lesson::Critique(critique) => Ok(json!({
                "messages": whole(&critique.request, &critique.reply),
                "principle": critique.principle,
                "violated": critique.violated,
                "probability": critique.probability,
            })),
            _ => Err(other()),
        }
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        let (request, reply) = conversation(row, "messages")?;
        Ok(Lesson::Critique(Box::new(Critique {
            request,
            reply,
            principle: string(row, "principle"),
            violated: row["violated"].as_bool(),
            probability: row["probability"].as_f64(),
        })))
    }
}

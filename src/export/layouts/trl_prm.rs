//! TRL's PRMTrainer, stepwise supervision: `prompt`, the sentences of an answer, and which of them stand.

use serde_json::{Value, json};

use super::{Layout, other, string};
use crate::export::columns::{Column, Kind, column, text};
use crate::export::lesson::{Draws, Lesson, Misfit};
use crate::generation::{Message, Role};

/// `prompt`, `completions`, `labels`. The trainer knows no roles, so the prompt is plain text: the
/// person's words, or, where there is more than that, every turn after the name of who speaks.
pub(super) struct TrlPrm;

impl Layout for TrlPrm {
    fn draws(&self) -> Draws {
        Draws::Steps
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            text("prompt"),
            column("completions", Kind::List(Box::new(Kind::Text))),
            column("labels", Kind::List(Box::new(Kind::Bool))),
        ]
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        let Lesson::Steps { prompt, steps } = lesson else {
            return Err(other());
        };
        let (completions, labels): (Vec<_>, Vec<_>) =
            steps.iter().map(|(text, stands)| (text, *stands)).unzip();
        Ok(json!({"prompt": plain(prompt), "completions": completions, "labels": labels}))
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        let completions = row["completions"].as_array().into_iter().flatten();
        let labels = row["labels"].as_array().map_or(&[][..], Vec::as_slice);
        let completions: Vec<_> = completions.filter_map(Value::as_str).collect();
        if completions.len() != labels.len() {
            return Err("`completions` and `labels` are not of one length".to_owned());
        }
        let steps = completions.into_iter().zip(labels);
        Ok(Lesson::Steps {
            prompt: vec![Message::user(string(row, "prompt"))],
            steps: steps
                .map(|(text, label)| (text.to_owned(), *label == true))
                .collect(),
        })
    }
}

fn plain(prompt: &[Message]) -> String {
    if let [only] = prompt {
        return only.content.clone();
    }
    let turn = |message: &Message| {
        let who = match message.role {
            Role::System => "System",
            Role::User => "User",
            Role::Assistant => "Assistant",
        };
        format!("{who}: {}", message.content)
    };
    let turns: Vec<_> = prompt.iter().map(turn).collect();
    turns.join("\n\n")
}

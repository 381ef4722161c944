//! The alpaca form, as LLaMA-Factory and others read it: `instruction`, `input`, `output`, `system`, `history`.

use serde_json::{Value, json};

use super::{Layout, other, string};
use crate::export::columns::{Column, Kind, column, text};
use crate::export::lesson::{Draws, Lesson, Misfit, apart, together};

/// The last question is the instruction; earlier exchanges are the history.
pub(super) struct Alpaca;

impl Layout for Alpaca {
    fn draws(&self) -> Draws {
        Draws::Answers
    }

    fn columns(&self) -> Vec<Column> {
        let texts = ["instruction", "input", "output", "system"].map(text);
        let exchange = Kind::List(Box::new(Kind::Text));
        let history = column("history", Kind::List(Box::new(exchange)));
        texts.into_iter().chain([history]).collect()
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        let Lesson::Answer { prompt, response } = lesson else {
            return Err(other());
        };
        let parts = apart(prompt).ok_or(Misfit::RolesDoNotAlternate)?;
        Ok(json!({
            "instruction": parts.question,
            "input": "",
            "output": response,
            "system": parts.system.unwrap_or_default(),
            "history": parts.history,
        }))
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        let system = row["system"].as_str().filter(|system| !system.is_empty());
        let exchange = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
            Some([asked, answered]) => Ok((
                asked.as_str().unwrap_or_default().to_owned(),
                answered.as_str().unwrap_or_default().to_owned(),
            )),
            _ => Err("an exchange of `history` is not a question and an answer".to_owned()),
        };
        let history = row["history"].as_array().into_iter().flatten();
        let history = history.map(exchange).collect::<Result<Vec<_>, _>>()?;
        let (mut question, input) = (string(row, "instruction"), string(row, "input"));
        if !input.is_empty() {
            question = format!("{question}\n{input}");
        }
        Ok(Lesson::Answer {
            prompt: together(system, &history, &question),
            response: string(row, "output"),
        })
    }
}

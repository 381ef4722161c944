//! The columns of Hugging Face's Constitutional AI datasets: a whole round, and what trainers take of it.

use serde_json::{Value, json};

use super::{Layout, conversation, other, string, whole};
use crate::export::columns::{Column, Kind, column, text};
use crate::export::lesson::{Draws, Lesson, Misfit, Revision};
use crate::generation::{Message, Role};

/// `init_prompt` to `revision_response`, then `prompt`, `messages`, `chosen`, `rejected`.
pub(super) struct HfCai;

impl Layout for HfCai {
    fn draws(&self) -> Draws {
        Draws::Revisions
    }

    fn columns(&self) -> Vec<Column> {
        let texts = [
            "init_prompt",
            "init_response",
            "critic_prompt",
            "critic_response",
            "revision_prompt",
            "revision_response",
            "prompt",
        ];
        let lists = ["messages", "chosen", "rejected"].map(|name| column(name, Kind::messages()));
        texts.into_iter().map(text).chain(lists).collect()
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        let Lesson::Revision(round) = lesson else {
            return Err(other());
        };
        let asked = said(&round.prompt);
        Ok(json!({
            "init_prompt": asked,
            "init_response": round.response,
            "critic_prompt": round.critique_request,
            "critic_response": round.critique,
            "revision_prompt": round.revision_request,
            "revision_response": round.revision,
            "prompt": asked,
            "messages": whole(&round.prompt, &round.revision),
            "chosen": whole(&round.prompt, &round.revision),
            "rejected": whole(&round.prompt, &round.response),
        }))
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        let (prompt, revision) = conversation(row, "chosen")?;
        let (rejected_prompt, response) = conversation(row, "rejected")?;
        if row["messages"] != row["chosen"] || prompt != rejected_prompt {
            return Err("`messages`, `chosen` and `rejected` do not belong together".to_owned());
        }
        if string(row, "prompt") != said(&prompt) || row["init_prompt"] != row["prompt"] {
            return Err("`prompt` is not what the person says last in `messages`".to_owned());
        }
        if string(row, "init_response") != response || string(row, "revision_response") != revision
        {
            return Err("the responses are not those of `chosen` and `rejected`".to_owned());
        }
        Ok(Lesson::Revision(Box::new(Revision {
            prompt,
            response,
            critique_request: string(row, "critic_prompt"),
            critique: string(row, "critic_response"),
            revision_request: string(row, "revision_prompt"),
            revision,
            from: None,
        })))
    }
}

/// What the person says last.
fn said(prompt: &[Message]) -> &str {
    let mut from_the_end = prompt.iter().rev();
    from_the_end
        .find(|message| message.role == Role::User)
        .map_or("", |message| &message.content)
}

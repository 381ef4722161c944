//! TRL's RewardTrainer: `chosen` and `rejected` as whole conversations.

use serde_json::{Value, json};

use super::{Layout, conversation, other, whole};
use crate::export::columns::{Column, Kind, column};
use crate::export::lesson::{Draws, Lesson, Misfit};

/// `chosen`, `rejected`; the prompt stands at the beginning of both.
pub(super) struct TrlReward;

impl Layout for TrlReward {
    fn draws(&self) -> Draws {
        Draws::Pairs
    }

    fn columns(&self) -> Vec<Column> {
        ["chosen", "rejected"]
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
                "chosen": whole(prompt, chosen),
                "rejected": whole(prompt, rejected),
            })),
            _ => Err(other()),
        }
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        let (prompt, chosen) = conversation(row, "chosen")?;
        let (other, rejected) = conversation(row, "rejected")?;
        if prompt != other {
            return Err("`chosen` and `rejected` do not begin with the same prompt".to_owned());
        }
        Ok(Lesson::Pair {
            prompt,
            chosen,
            rejected,
            probability: None,
        })
    }
}

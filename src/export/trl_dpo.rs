//! TRL's DPOTrainer: `prompt`, `chosen` and `rejected`, the last two only the assistant's turn.

use serde_json::json;

use crate::generation::Message;
use crate::quality::gates::Gating;
use crate::store::ChainDetail;

use super::{Outcome, Rows, message_list};

/// The pair that a chain gives.
pub(super) struct TrlDpo;

impl Rows for TrlDpo {
    fn rows(&self, chain: &ChainDetail, gating: &Gating) -> Vec<Outcome> {
        vec![match gating.take(chain).pair {
            Ok(pair) => Outcome::Row {
                row: json!({
                    "prompt": message_list(&chain.prompt_messages),
                    "chosen": message_list([&Message::assistant(pair.chosen.text)]),
                    "rejected": message_list([&Message::assistant(pair.rejected.text)]),
                }),
                flags: pair.chosen.flags.to_vec(),
            },
            Err(refused) => Outcome::dropped(None, refused),
        }]
    }
}

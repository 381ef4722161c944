//! TRL's SFTTrainer: `messages`, the whole conversation with the response to learn at its end.

use serde_json::json;

use crate::generation::Message;
use crate::quality::gates::{Gating, Refused};
use crate::quality::pair::Side;
use crate::store::ChainDetail;

use super::{Outcome, Rows, message_list};

/// Prompt → chosen text; with `all_rounds` one row for every adopted revision.
pub(super) struct TrlSft {
    pub all_rounds: bool,
}

impl Rows for TrlSft {
    fn rows(&self, chain: &ChainDetail, gating: &Gating) -> Vec<Outcome> {
        let rounds = match self.all_rounds {
            true => gating.rounds(chain),
            false => Vec::new(),
        };
        if rounds.is_empty() {
            return vec![outcome(chain, None, gating.take(chain).text)];
        }
        rounds
            .into_iter()
            .map(|(step, text)| outcome(chain, Some(step), text))
            .collect()
    }
}

fn outcome(chain: &ChainDetail, step: Option<u32>, text: Result<Side<'_>, Refused>) -> Outcome {
    match text {
        Ok(side) => {
            let answer = Message::assistant(side.text);
            Outcome::Row {
                row: json!({"messages": message_list(chain.prompt_messages.iter().chain([&answer]))}),
                flags: side.flags.to_vec(),
            }
        }
        Err(refused) => Outcome::dropped(step, refused),
    }
}

//! TRL's DPOTrainer: `prompt`, `chosen` and `rejected`, the last two only the assistant's turn.

use serde_json::json;

use crate::generation::Message;
use crate::store::ChainDetail;

use super::usable::{Reason, final_text};
use super::{Outcome, Rows, message_list};

/// The final text is chosen, the draft rejected.
pub(super) struct TrlDpo;

impl Rows for TrlDpo {
    fn rows(&self, chain: &ChainDetail) -> Vec<Outcome> {
        vec![pair(chain).unwrap_or_else(|reason| Outcome::Dropped { step: None, reason })]
    }
}

fn pair(chain: &ChainDetail) -> Result<Outcome, Reason> {
    let (chosen, flags) = final_text(chain)?;
    let rejected = chain.row.draft.as_deref().unwrap_or_default();
    if rejected.trim().is_empty() {
        return Err(Reason::EmptyDraft);
    }
    if chosen.trim() == rejected.trim() {
        return Err(Reason::EqualTexts);
    }
    Ok(Outcome::Row {
        row: json!({
            "prompt": message_list(&chain.prompt_messages),
            "chosen": message_list([&Message::assistant(chosen)]),
            "rejected": message_list([&Message::assistant(rejected)]),
        }),
        flags: flags.to_vec(),
    })
}

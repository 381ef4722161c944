//! TRL's SFTTrainer: `messages`, the whole conversation with the response to learn at its end.

use serde_json::json;

use crate::chain::StepKind;
use crate::generation::Message;
use crate::store::ChainDetail;

use super::usable::{Reason, adopted, ended, final_text, teachable};
use super::{Outcome, Rows, message_list};

/// Prompt → final text; with `all_rounds` one row for every adopted revision.
pub(super) struct TrlSft {
    pub all_rounds: bool,
}

impl Rows for TrlSft {
    fn rows(&self, chain: &ChainDetail) -> Vec<Outcome> {
        let revised = adopted(chain).any(|step| step.kind == StepKind::Revision);
        if self.all_rounds && revised {
            return revisions(chain);
        }
        vec![match final_text(chain) {
            Ok((text, flags)) => Outcome::Row {
                row: row(chain, text),
                flags: flags.to_vec(),
            },
            Err(reason) => Outcome::Dropped { step: None, reason },
        }]
    }
}

/// A row for every adopted revision; a text that the chain gave before is not given again.
fn revisions(chain: &ChainDetail) -> Vec<Outcome> {
    if let Err(reason) = ended(chain) {
        return vec![Outcome::Dropped { step: None, reason }];
    }
    let mut given: Vec<&str> = Vec::new();
    adopted(chain)
        .filter(|step| step.kind == StepKind::Revision)
        .map(|step| {
            let text = step.output.as_str();
            let fresh = if given.contains(&text.trim()) {
                Err(Reason::EqualTexts)
            } else {
                teachable(text, &step.flags)
            };
            match fresh {
                Ok(()) => {
                    given.push(text.trim());
                    Outcome::Row {
                        row: row(chain, text),
                        flags: step.flags.clone(),
                    }
                }
                Err(reason) => Outcome::Dropped {
                    step: Some(step.ordinal),
                    reason,
                },
            }
        })
        .collect()
}

fn row(chain: &ChainDetail, text: &str) -> serde_json::Value {
    let answer = Message::assistant(text);
    json!({"messages": message_list(chain.prompt_messages.iter().chain([&answer]))})
}

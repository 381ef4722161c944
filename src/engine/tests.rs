//! The loop, over a backend that answers at once.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::memory::Memory;
use super::policy::Select;
use super::testing::constitution;
use super::*;
use crate::constitution::Revise;
use crate::generation::{Decision, FinishReason, Message, ModelIdentity, SamplingParams, Usage};
use crate::prompt::{Prompt, PromptId};
use crate::template::Pack;

/// Finds nothing in any response, and remembers what it was asked, by ticket.
struct AtOnce {
    identity: ModelIdentity,
    asked: Mutex<Vec<(Ticket, String)>>,
}

impl Backend for AtOnce {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn parallelism(&self) -> usize {
        4
    }

    fn count_tokens(&self, _: &[Message]) -> Result<u32, BackendError> {
        Ok(1)
    }

    fn submit(&self, ticket: Ticket, request: Request, reply: Sender<TicketReply>) {
        let asked = request.messages()[0].content.clone();
        self.asked.lock().unwrap().push((ticket, asked));
        let judges = matches!(&request, Request::Generate(generate) if generate.shape.is_some());
        let (text, decisions) = match judges {
            true => {
                let decision = Decision {
                    field: "violated".to_owned(),
                    probability: 0.1,
                };
                (r#"{"violated": false}"#, vec![decision])
            }
            false => ("It is so.", Vec::new()),
        };
        let generation = Generation {
            text: text.to_owned(),
            raw: text.to_owned(),
            thinking: None,
            thinking_unclosed: false,
            finish: FinishReason::Stop,
            decisions,
            invalid_utf8: false,
            usage: Usage::default(),
        };
        let _ = reply.send((ticket, Ok(Reply::Generated(generation))));
    }
}

#[test]
fn requests_of_a_chain_go_before_those_of_chains_that_began_after_it() {
    let plan = Arc::new(Plan {
        constitution: constitution(&["a", "b", "c"]),
        pack: Pack::load("default").unwrap(),
        select: Select::from("all".to_owned()),
        rounds: 1,
        revise: Revise::WhenViolated,
        recheck: false,
        threshold: 0.5,
        sampling: SamplingParams::default(),
        seed: 1,
        adapters: BTreeMap::new(),
    });
    let mut tasks = (0..9u64).map(|number| {
        let messages = vec![Message::user(format!("Question {number}?"))];
        let prompt = Prompt {
            id: PromptId::from_content(&messages),
            messages,
            metadata: serde_json::Map::new(),
        };
        Ok::<_, RecordError>(Task {
            plan: Arc::clone(&plan),
            start: ChainStart {
                id: ChainId::new("run", &prompt.id, 0),
                position: number,
                prompt,
                sample: 0,
            },
            draft: None,
        })
    });
    let backend = AtOnce {
        identity: ModelIdentity {
            digest: Digest::of(&"model"),
            name: "model".to_owned(),
            settings_digest: Digest::of(&"settings"),
            settings: BTreeMap::new(),
            context_length: 4096,
            chat_template: "none".to_owned(),
            metadata: BTreeMap::new(),
        },
        asked: Mutex::default(),
    };
    let options = EngineOptions {
        parallel: 4,
        retry_failed: false,
    };
    let summary = run(
        &backend,
        &mut Memory::default(),
        &mut tasks,
        options,
        &AtomicBool::new(false),
        &mut |_| {},
    )
    .unwrap();
    assert_eq!((summary.ended, summary.failed), (9, 0));
    let mut asked = backend.asked.into_inner().unwrap();
    assert_eq!(asked.len(), 9 * 4);
    // Tickets decide who goes first; four chains were asked about at a time.
    asked.sort();
    let chains: Vec<char> = asked
        .iter()
        .filter_map(|(_, text)| text.split_once("Question ")?.1.chars().next())
        .collect();
    assert_eq!(chains.len(), asked.len());
    assert!(chains.is_sorted(), "{chains:?}");
}

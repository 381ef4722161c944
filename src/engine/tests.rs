//! The loop, over a backend that answers at once.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::memory::Memory;
use super::policy::Select;
use super::testing::{AtOnce, constitution, written};
use super::*;
use crate::constitution::Revise;
use crate::generation::{Decision, Message, SamplingParams};
use crate::prompt::{Prompt, PromptId};
use crate::template::Pack;

/// Finds nothing in any response.
fn answer(request: &Request) -> Reply {
    match request {
        Request::Generate(generate) if generate.shape.is_some() => {
            let decision = Decision {
                field: "violated".to_owned(),
                probability: 0.1,
            };
            written(r#"{"violated": false}"#, vec![decision])
        }
        _ => written("It is so.", Vec::new()),
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
    let asked = Mutex::new(Vec::new());
    let backend = AtOnce::new(|ticket, request| {
        let text = request.messages()[0].content.clone();
        asked.lock().unwrap().push((ticket, text));
        Ok(answer(request))
    });
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
    drop(backend);
    let mut asked = asked.into_inner().unwrap();
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

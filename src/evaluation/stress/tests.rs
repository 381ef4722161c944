use super::*;
use crate::backend::scripted::ScriptedBackend;
use crate::constitution::Check;
use crate::engine::testing::constitution;
use crate::generation::SamplingParams;
use crate::template::Pack;

fn plan() -> Plan {
    let mut constitution = constitution(&["asks", "short", "calm"]);
    let check = |yaml: &str| Some(serde_yaml::from_str::<Check>(yaml).unwrap());
    constitution.principles[0].check = check("{ends_with_any: ['?']}");
    constitution.principles[1].check = check("{max_words: 3}");
    constitution.principles[2].check = check("{not_contains: ['!']}");
    Plan {
        constitution,
        pack: Pack::load("default").unwrap(),
        select: Select::All,
        rounds: 0,
        revise: Revise::Always,
        recheck: false,
        threshold: 0.5,
        sampling: SamplingParams::default(),
        seed: 0,
        adapters: std::collections::BTreeMap::new(),
    }
}

/// Mending one way breaks the other: a question has four words.
const SCRIPT: &str = r#"
rules:
  - {contains: [Two rules], reply: '1. "How is it?"'}
  - {contains: ["Make the response do what asks"], reply: "Is it what it is?"}
  - {contains: ["Make the response do what short"], reply: "It is."}
  - {reply: "It is what it is."}
"#;

#[test]
fn pairs_that_undo_each_other_come_first() {
    let plan = plan();
    let pairs = pairs(&plan.constitution, 9, 0);
    assert_eq!(pairs.len(), 3);
    let backend = ScriptedBackend::from_yaml(SCRIPT, 4).unwrap();
    let stress = Stress {
        plan: &plan,
        run_id: "r",
        pairs,
        prompts: 2,
    };
    let (mut memory, mut done) = (Memory::default(), 0);
    let interrupted = AtomicBool::new(false);
    let ranked = stress
        .run(&backend, &mut memory, &interrupted, &mut || done += 1)
        .unwrap()
        .unwrap();
    assert_eq!(done, 3 * 2 * 2);
    let first = &ranked[0];
    assert_eq!(
        (first.pair.first.as_str(), first.pair.second.as_str()),
        ("asks", "short")
    );
    let prompts: Vec<_> = first.prompts.iter().map(|p| p.prompt.as_str()).collect();
    assert_eq!(prompts, ["How is it?", "How is it?"]);
    let id = PromptId("asks+short.2".to_owned());
    assert_eq!(first.prompts[1].second_leads, ChainId::new("r", &id, 1));
    assert_eq!((first.share, first.chains, first.failed), (Some(1.0), 4, 0));
    assert!(first.first_breaks_second.fired > 0 && first.second_breaks_first.fired > 0);
    assert!(ranked[1..].iter().all(|r| r.share.unwrap_or(0.0) < 1.0));
}

#[test]
fn an_interrupted_test_has_no_figures() {
    let plan = plan();
    let backend = ScriptedBackend::from_yaml(SCRIPT, 4).unwrap();
    let stress = Stress {
        plan: &plan,
        run_id: "r",
        pairs: pairs(&plan.constitution, 1, 0),
        prompts: 1,
    };
    let (mut memory, interrupted) = (Memory::default(), AtomicBool::new(true));
    let ranked = stress.run(&backend, &mut memory, &interrupted, &mut || {});
    assert_eq!(ranked.unwrap(), None);
}

#[test]
fn draws_follow_the_seed() {
    let constitution = plan().constitution;
    assert_eq!(pairs(&constitution, 2, 5), pairs(&constitution, 2, 5));
    assert_eq!(pairs(&constitution, 2, 5).len(), 2);
}

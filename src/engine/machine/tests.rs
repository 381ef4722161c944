//! Chain policy, by example and by property.

use proptest::prelude::*;

use super::*;
use crate::chain::ChainId;
use crate::constitution::{Check, Severity};
use crate::digest::Digest;
use crate::engine::testing::constitution;
use crate::generation::{Decision, FinishReason, Generate, Generation, Message, Usage};
use crate::prompt::{Prompt, PromptId};

fn plan(select: &str, rounds: u32) -> Plan {
    Plan {
        constitution: constitution(&["a", "b", "c"]),
        pack: Pack::load("default").unwrap(),
        select: Select::from(select.to_owned()),
        rounds,
        revise: Revise::WhenViolated,
        recheck: false,
        threshold: 0.5,
        sampling: SamplingParams::default(),
        seed: 1,
        adapters: std::collections::BTreeMap::new(),
    }
}

fn machine(plan: Plan) -> ChainMachine {
    let messages = vec![Message::user("What is the capital of France?")];
    let prompt = Prompt {
        id: PromptId::from_content(&messages),
        messages,
        metadata: serde_json::Map::new(),
    };
    let id = ChainId::new("run", &prompt.id, 0);
    ChainMachine::new(
        Arc::new(plan),
        ChainStart {
            id,
            position: 0,
            prompt,
            sample: 0,
        },
    )
}

/// What a model might reply.
#[derive(Clone, Debug)]
enum Answer {
    Text(String),
    Clean,
    Violated(String),
    Error(BackendError),
}

fn reply(request: &Request, answer: &Answer) -> Result<Call, BackendError> {
    let (text, probability) = match answer {
        Answer::Error(error) => return Err(error.clone()),
        Answer::Text(text) => (text.clone(), None),
        Answer::Clean => (r#"{"violated": false}"#.to_owned(), Some(0.1)),
        Answer::Violated(quote) => (
            serde_json::json!({
                "violated": true, "quote": quote, "critique": "It is wrong.", "severity": "minor"
            })
            .to_string(),
            Some(0.9),
        ),
    };
    let decisions = probability.map(|probability| Decision {
        field: "violated".into(),
        probability,
    });
    Ok(Call {
        key: Digest::of(request),
        request: request.clone(),
        generation: Generation {
            raw: text.clone(),
            text,
            thinking: None,
            thinking_unclosed: false,
            finish: FinishReason::Stop,
            decisions: decisions.into_iter().collect(),
            invalid_utf8: false,
            usage: Usage::default(),
        },
        reused: false,
    })
}

/// Runs a chain to its end; `answer` is asked with the kind of the request and its number.
fn finish(
    mut machine: ChainMachine,
    mut answer: impl FnMut(&Request, usize) -> Answer,
) -> (Vec<Step>, ChainEnd) {
    let (mut steps, mut asked) = (Vec::new(), 0);
    loop {
        assert!(asked < 1000, "the chain does not end");
        match machine.next() {
            Action::Ask(request) => {
                assert_eq!(
                    machine.next(),
                    Action::Ask(request.clone()),
                    "asking again changes it"
                );
                let answer = answer(&request, asked);
                asked += 1;
                steps.extend(machine.accept(reply(&request, &answer)));
            }
            Action::Record(step) => steps.push(*step),
            Action::Finish(end) => return (steps, *end),
        }
    }
}

fn is_verdict(request: &Request) -> bool {
    matches!(request, Request::Generate(Generate { shape: Some(_), .. }))
}

fn kinds(steps: &[Step]) -> Vec<StepKind> {
    steps.iter().map(|step| step.kind).collect()
}

use StepKind::{Critique, Draft, Recheck, Revision};

#[test]
fn clean_verdicts_skip_the_revision() {
    let (steps, end) = finish(machine(plan("sample", 2)), |request, _| {
        if is_verdict(request) {
            Answer::Clean
        } else {
            Answer::Text("Paris.".into())
        }
    });
    assert_eq!(kinds(&steps), [Draft, Critique, Critique]);
    assert_eq!(end.stop, StopReason::Clean);
    assert_eq!(
        (end.last.as_deref(), end.revised, end.rounds),
        (Some("Paris."), false, 2)
    );
    assert_ne!(
        steps[1].principle, steps[2].principle,
        "a principle was drawn twice"
    );
}

#[test]
fn a_violation_is_revised_and_the_revision_is_what_is_judged_next() {
    let (steps, end) = finish(machine(plan("a,b", 1)), |request, n| match n {
        0 => Answer::Text("Paris, perhaps.".into()),
        1 => Answer::Violated("perhaps".into()),
        2 => Answer::Text("Paris.".into()),
        _ => {
            let last = &request.messages().last().unwrap().content;
            assert!(last.contains("Paris.") && !last.contains("perhaps"));
            Answer::Clean
        }
    });
    assert_eq!(kinds(&steps), [Draft, Critique, Revision, Critique]);
    assert_eq!(end.stop, StopReason::RoundsDone);
    assert_eq!(end.draft.as_deref(), Some("Paris, perhaps."));
    assert_eq!(end.last.as_deref(), Some("Paris."));
    assert!(end.revised && steps[2].adopted);
}

#[test]
fn a_whole_round_without_a_violation_ends_a_chain_over_all_principles() {
    let (steps, end) = finish(machine(plan("all", 5)), |request, n| match n {
        0 => Answer::Text("Paris, perhaps.".into()),
        1 => Answer::Violated("perhaps".into()),
        _ if is_verdict(request) => Answer::Clean,
        _ => Answer::Text("Paris.".into()),
    });
    // One round with a revision, and one that finds the result clean.
    assert_eq!(kinds(&steps).iter().filter(|k| **k == Critique).count(), 6);
    assert_eq!(
        (end.stop, end.rounds, end.revised),
        (StopReason::Clean, 2, true)
    );
}

#[test]
fn an_unverified_quote_is_asked_for_once_more_with_another_seed() {
    let mut seeds = Vec::new();
    let (steps, _) = finish(machine(plan("a", 1)), |request, n| {
        let Request::Generate(generate) = request else {
            panic!("not a generation")
        };
        seeds.push(generate.seed);
        match n {
            0 => Answer::Text("Paris.".into()),
            1 => Answer::Violated("London".into()),
            2 => Answer::Violated("Paris".into()),
            _ => Answer::Text("It is Paris.".into()),
        }
    });
    assert_eq!(steps[1].calls.len(), 2);
    assert_ne!(seeds[1], seeds[2]);
    let verdict = steps[1].verdict.as_ref().unwrap();
    assert!(verdict.quote_verified);
    assert_eq!(verdict.quote.as_deref(), Some("Paris"));
    assert_eq!(steps[1].flags, []);
}

#[test]
fn a_quote_that_stays_unverified_is_flagged_and_the_violation_stands() {
    let (steps, end) = finish(machine(plan("a", 1)), |request, n| match n {
        0 => Answer::Text("Paris.".into()),
        _ if is_verdict(request) => Answer::Violated("London".into()),
        _ => Answer::Text("It is Paris.".into()),
    });
    assert_eq!(steps[1].flags, [Flag::QuoteUnverified]);
    assert_eq!(kinds(&steps), [Draft, Critique, Revision]);
    assert!(end.revised);
}

#[test]
fn a_reply_without_a_verdict_is_asked_for_again_then_flagged_and_never_clean() {
    let (steps, end) = finish(machine(plan("a", 1)), |_, _| {
        Answer::Text("No critique needed.".into())
    });
    assert_eq!(steps[1].calls.len(), 2);
    assert_eq!(steps[1].flags, [Flag::NoVerdict]);
    assert_eq!(end.stop, StopReason::RoundsDone);
    assert_eq!(kinds(&steps), [Draft, Critique]);
}

#[test]
fn a_revision_without_usable_text_is_kept_and_not_adopted() {
    for text in ["", "No revision needed.", "Paris."] {
        let (steps, end) = finish(machine(plan("a", 1)), |_, n| match n {
            0 => Answer::Text("Paris.".into()),
            1 => Answer::Violated("Paris".into()),
            _ => Answer::Text(text.into()),
        });
        assert!(!steps[2].adopted, "{text:?}");
        assert_eq!((end.last.as_deref(), end.revised), (Some("Paris."), false));
        assert_eq!(end.stop, StopReason::RoundsDone);
    }
}

#[test]
fn a_check_decides_without_a_model_call() {
    let mut plan = plan("a", 1);
    plan.constitution.principles[0].check = Some(Check {
        ends_with_any: vec!["?".into()],
        ..Check::default()
    });
    plan.constitution.principles[0].severity = Severity::Critical;
    let (steps, end) = finish(machine(plan), |request, n| {
        assert!(!is_verdict(request), "the model was asked for a verdict");
        Answer::Text(if n == 0 { "Paris." } else { "Is it Paris?" }.into())
    });
    let verdict = steps[1].verdict.as_ref().unwrap();
    assert_eq!(
        (verdict.violated, verdict.source),
        (true, VerdictSource::Check)
    );
    assert_eq!(verdict.severity, Some(Severity::Critical));
    assert!(verdict.critique.contains('?'), "{}", verdict.critique);
    assert!(steps[1].calls.is_empty());
    assert_eq!(end.last.as_deref(), Some("Is it Paris?"));
}

#[test]
fn rechecks_ask_about_every_principle_revised_for_and_record_regressions() {
    let mut plan = plan("a,b", 1);
    plan.recheck = true;
    let (steps, end) = finish(machine(plan), |request, n| match n {
        0 => Answer::Text("Paris.".into()),
        1 => Answer::Violated("Paris".into()),
        2 => Answer::Text("Paris, France.".into()),
        3 => Answer::Violated("France".into()),
        4 => Answer::Text("Paris again.".into()),
        5 => Answer::Violated("Paris".into()),
        _ if is_verdict(request) => Answer::Clean,
        _ => panic!("nothing is revised after the rounds"),
    });
    assert_eq!(kinds(&steps)[5..], [Recheck, Recheck]);
    assert_eq!(end.regressions, ["a"]);
    assert_eq!(end.stop, StopReason::RoundsDone);
}

#[test]
fn a_draft_that_does_not_fit_fails_and_a_later_step_ends_the_chain() {
    let full = BackendError::ContextExceeded {
        tokens: 9,
        context: 8,
    };
    let (steps, end) = finish(machine(plan("a", 1)), |_, _| Answer::Error(full.clone()));
    assert_eq!((steps.len(), end.stop), (0, StopReason::Failed));
    assert!(end.error.unwrap().contains("9 tokens"));
    let (steps, end) = finish(machine(plan("a", 1)), |_, n| match n {
        0 => Answer::Text("Paris.".into()),
        _ => Answer::Error(full.clone()),
    });
    assert_eq!((steps.len(), end.stop), (1, StopReason::ContextFull));
    assert_eq!(end.last.as_deref(), Some("Paris."));
}

#[test]
fn prose_critiques_are_always_answered() {
    let mut plan = plan("sample", 4);
    plan.pack = Pack::load("paper").unwrap();
    plan.revise = Revise::Always;
    let (steps, end) = finish(machine(plan), |request, n| {
        assert!(!is_verdict(request));
        Answer::Text(format!("Text number {n}."))
    });
    assert_eq!(kinds(&steps).iter().filter(|k| **k == Revision).count(), 4);
    assert_eq!((end.stop, end.rounds), (StopReason::RoundsDone, 4));
}

fn given(text: &str) -> Step {
    Step {
        ordinal: 7,
        round: 3,
        kind: Draft,
        principle: None,
        calls: Vec::new(),
        output: text.to_owned(),
        flags: vec![Flag::Preamble],
        verdict: None,
        adopted: true,
    }
}

#[test]
fn a_given_draft_is_taken_and_not_asked_for() {
    let plan = Arc::new(plan("a,b", 1));
    let machine = ChainMachine::with_draft(
        Arc::clone(&plan),
        machine((*plan).clone()).start().clone(),
        given("Paris."),
    );
    let (steps, end) = finish(machine, |request, _| {
        assert!(is_verdict(request));
        assert!(request.messages()[0].content.contains("Paris."));
        Answer::Clean
    });
    assert_eq!(kinds(&steps), [Draft, Critique, Critique]);
    let draft = &steps[0];
    assert_eq!((draft.ordinal, draft.round, draft.adopted), (0, 0, true));
    assert_eq!(draft.flags, [Flag::Preamble]);
    assert_eq!(
        (end.draft.as_deref(), end.last.as_deref()),
        (Some("Paris."), Some("Paris."))
    );
    assert_eq!(end.stop, StopReason::Clean);
}

#[test]
fn a_given_draft_is_judged_with_the_seeds_of_one_that_was_written() {
    let seeds = |machine: ChainMachine| {
        let mut seeds = Vec::new();
        finish(machine, |request, _| {
            let Request::Generate(ask) = request else {
                panic!("nothing is chosen here")
            };
            match ask.shape.is_some() {
                false => Answer::Text("Paris.".into()),
                true => {
                    seeds.push(ask.seed);
                    Answer::Violated("Lyon".into())
                }
            }
        });
        seeds
    };
    let mut plan = plan("b", 1);
    plan.revise = Revise::Never;
    let written = machine(plan.clone());
    let start = written.start().clone();
    let taken = ChainMachine::with_draft(Arc::new(plan), start, given("Paris."));
    assert_eq!(seeds(written).len(), 2);
    assert_eq!(seeds(taken.clone()), seeds(machine((*taken.plan).clone())));
}

#[test]
fn never_revising_asks_about_each_principle_once() {
    for select in ["all", "a,b,c"] {
        let mut plan = plan(select, 3);
        plan.revise = Revise::Never;
        plan.recheck = true;
        let (steps, end) = finish(machine(plan), |request, _| match is_verdict(request) {
            false => Answer::Text("Paris.".into()),
            true => Answer::Violated("Paris".into()),
        });
        assert_eq!(kinds(&steps), [Draft, Critique, Critique, Critique]);
        assert_eq!((end.stop, end.revised), (StopReason::RoundsDone, false));
    }
    let mut plan = plan("sample", 2);
    plan.pack = Pack::load("paper").unwrap();
    plan.revise = Revise::Never;
    let (steps, _) = finish(machine(plan), |_, n| Answer::Text(format!("Text {n}.")));
    assert_eq!(kinds(&steps), [Draft, Critique, Critique]);
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => "[a-z ]{0,30}".prop_map(Answer::Text),
        2 => Just(Answer::Clean),
        2 => "[a-z]{0,3}".prop_map(Answer::Violated),
        1 => Just(Answer::Text("<think>hm".into())),
        1 => Just(Answer::Error(BackendError::ContextExceeded { tokens: 2, context: 1 })),
        1 => Just(Answer::Error(BackendError::Inference("x".into()))),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_back_a_chain_ends_and_tells_the_truth(
        script in prop::collection::vec(answers(), 1..40),
        select in prop_oneof![Just("sample"), Just("all"), Just("c,a")],
        rounds in 0u32..4,
        recheck: bool,
        revise in prop_oneof![Just(Revise::WhenViolated), Just(Revise::Always), Just(Revise::Never)],
        taken: bool,
    ) {
        let mut plan = plan(select, rounds);
        plan.recheck = recheck;
        plan.revise = revise;
        let run = || {
            let mut machine = machine(plan.clone());
            if taken {
                machine = ChainMachine::with_draft(
                    Arc::new(plan.clone()), machine.start().clone(), given("a draft"));
            }
            finish(machine, |_, n| script[n % script.len()].clone())
        };
        let (steps, end) = run();
        prop_assert_eq!(&run(), &(steps.clone(), end.clone()), "a replay differs");
        for (n, step) in steps.iter().enumerate() {
            prop_assert_eq!(step.ordinal as usize, n);
            prop_assert_eq!(step.kind == Draft, n == 0);
            prop_assert_eq!(step.principle.is_none(), n == 0);
            if step.kind == Revision {
                let before = &steps[n - 1];
                prop_assert_eq!(before.kind, Critique);
                prop_assert_eq!(&before.principle, &step.principle);
                prop_assert!(revise != Revise::Never);
                prop_assert!(revise == Revise::Always || before.verdict.as_ref().unwrap().violated);
            }
        }
        let adopted = steps.iter().rev().find(|s| s.adopted).map(|s| s.output.clone());
        prop_assert!(adopted.is_none() || adopted == end.last);
        let revised = steps.iter().any(|s| s.kind == Revision && s.adopted);
        prop_assert_eq!(revised, end.revised);
        prop_assert!(end.rounds <= rounds);
        prop_assert_eq!(end.error.is_some(), end.stop == StopReason::Failed);
        prop_assert!(recheck || steps.iter().all(|s| s.kind != Recheck));
        if end.stop == StopReason::Clean && !revised {
            prop_assert!(steps.iter().filter_map(|s| s.verdict.as_ref()).all(|v| !v.violated));
        }
    }
}

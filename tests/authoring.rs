//! What an author asks of the real default model: tests, a try, a stress test. All share one load of it.

#[path = "support/loading.rs"]
mod loading;
#[path = "support/model.rs"]
mod model;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use amend::backend::Backend;
use amend::backend::llama::context::KvChoice;
use amend::backend::llama::{LlamaBackend, LlamaOptions};
use amend::chain::{ChainId, StepKind};
use amend::constitution::{Expect, Revise, load};
use amend::digest::Digest;
use amend::engine::machine::Plan;
use amend::engine::memory::Memory;
use amend::engine::policy::Select;
use amend::engine::{self, EngineOptions};
use amend::evaluation::{PairStress, Report, Stress, Suite, pairs, trial_of};
use amend::generation::SamplingParams;
use amend::store::{Filter, NewRun, RunState, Store, Writer};
use amend::template::Pack;
use loading::default_options;

static MODEL: LazyLock<Mutex<LlamaBackend>> = LazyLock::new(|| {
    let options = LlamaOptions {
        parallel: Some(8),
        context_per_sequence: Some(2048),
        kv: KvChoice::Unified,
        ..default_options()
    };
    Mutex::new(LlamaBackend::load(&options).unwrap())
});

/// The model, for one test at a time: what else is in the batch moves probabilities a little.
fn model() -> MutexGuard<'static, LlamaBackend> {
    MODEL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plan(constitution: &str, max_tokens: u32) -> Plan {
    Plan {
        constitution: load(constitution).unwrap().resolved.constitution,
        pack: Pack::load("default").unwrap(),
        select: Select::All,
        rounds: 1,
        revise: Revise::WhenViolated,
        recheck: true,
        threshold: 0.5,
        sampling: SamplingParams {
            max_tokens,
            ..SamplingParams::default()
        },
        seed: 7,
        adapters: BTreeMap::new(),
    }
}

static GO_ON: AtomicBool = AtomicBool::new(false);

#[test]
fn verdicts_of_tests_are_read_and_reported_as_they_are() {
    let (model, plan) = (model(), plan("minimal", 32));
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(&folder.path().join("s.db")).unwrap();
    let mut test = || {
        let suite = Suite::new(&plan, None, 1);
        let mut count = 0;
        let results = suite.run(&*model, &mut writer, &GO_ON, &mut || count += 1);
        let results = results.unwrap().unwrap();
        assert_eq!((count, results.len()), (12, 12));
        results
    };
    let results = test();
    let tokens = model.stats().tokens;
    let prompt_tokens = |cached: bool| -> u32 {
        let calls = results.iter().flat_map(|result| &result.calls);
        let usage = calls.map(|call| &call.generation.usage);
        usage
            .map(|u| {
                if cached {
                    u.cached_tokens
                } else {
                    u.prompt_tokens
                }
            })
            .sum()
    };
    // Tests are decoded together, and what their requests begin with is decoded once.
    assert!(4 * prompt_tokens(true) > prompt_tokens(false));
    let mut correct = 0;
    for result in &results {
        let p = result.probability().unwrap();
        let violated = result.verdict.as_ref().unwrap().violated;
        assert!((0.0..=1.0).contains(&p));
        assert_eq!(violated, p >= 0.5, "read, not drawn");
        correct += u64::from(violated == (result.case.expect == Expect::Violation));
        assert_eq!(result.error, None);
    }
    let report = Report::new(&plan.constitution, results);
    let overall = &report.overall;
    assert_eq!(
        (overall.figures.tests, overall.figures.correct),
        (12, correct)
    );
    let low = overall.interval.as_ref().unwrap().low;
    assert_eq!(
        overall.better_than_chance,
        low > 0.5,
        "half of the tests violate"
    );
    // The store has the replies, so the model is not asked again and nothing comes out otherwise.
    let again = test();
    assert_eq!(model.stats().tokens, tokens);
    assert!(
        again
            .iter()
            .flat_map(|result| &result.calls)
            .all(|call| call.reused)
    );
    let again = Report::new(&plan.constitution, again);
    assert_eq!((again.overall, again.principles.len()), (report.overall, 3));
}

#[test]
fn a_principle_is_tried_from_draft_to_recheck() {
    let model = model();
    // The least of all thresholds finds every response violated, so that the whole loop is gone through.
    let plan = Arc::new(Plan {
        select: Select::Ids(vec!["helpful".to_owned()]),
        threshold: 0.0,
        ..plan("minimal", 24)
    });
    for prompt in ["What is rain?", "What is snow?"] {
        let task = trial_of(Arc::clone(&plan), prompt, None, 0);
        let id = task.start.id.clone();
        let mut memory = Memory::default();
        let options = EngineOptions {
            parallel: 1,
            retry_failed: false,
        };
        let mut tasks = std::iter::once(Ok(task));
        engine::run(
            &*model,
            &mut memory,
            &mut tasks,
            options,
            &GO_ON,
            &mut |_| {},
        )
        .unwrap();
        let outcome = memory.take(&id);
        assert_eq!(outcome.end.unwrap().error, None);
        let kinds: Vec<_> = outcome.steps.iter().map(|step| step.kind).collect();
        assert_eq!(
            kinds[..3],
            [StepKind::Draft, StepKind::Critique, StepKind::Revision]
        );
        let verdict = outcome.steps[1].verdict.as_ref().unwrap();
        assert!(verdict.violated && verdict.probability.is_some());
        assert_eq!(
            kinds.get(3),
            outcome.steps[2].adopted.then_some(&StepKind::Recheck)
        );
    }
}

fn record(plan: &Plan, model: &LlamaBackend) -> NewRun {
    NewRun {
        run_id: "stressed".to_owned(),
        fingerprint: Digest::of(&"stressed"),
        config: serde_json::json!({}),
        constitution: plan.constitution.clone(),
        pack_name: plan.pack.name.clone(),
        pack_text: plan.pack.text().to_owned(),
        pack_digest: plan.pack.digest(),
        model: model.identity().clone(),
        prompts_path: "written by the model".to_owned(),
        prompts_digest: Digest::of(&"prompts"),
        versions: serde_json::json!({}),
        execution: serde_json::json!({}),
    }
}

#[test]
fn a_pair_is_stressed_kept_and_found_again() {
    let (model, plan) = (model(), plan("minimal", 24));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let mut writer = Writer::open(&path).unwrap();
    writer.begin_run(&record(&plan, &model)).unwrap();
    let mut stress = || -> Vec<PairStress> {
        let stress = Stress {
            plan: &plan,
            run_id: "stressed",
            pairs: pairs(&plan.constitution, 1, plan.seed),
            prompts: 1,
        };
        let mut memory = Memory::keeping(&mut writer);
        stress
            .run(&*model, &mut memory, &GO_ON, &mut || {})
            .unwrap()
            .unwrap()
    };
    let first = stress();
    let [pair] = first.as_slice() else {
        panic!("{first:?}");
    };
    assert_eq!((pair.chains, pair.failed, pair.without_prompt), (2, 0, 0));
    assert!(!pair.prompts[0].prompt.is_empty());
    let tokens = model.stats().tokens;
    assert_eq!(stress(), first);
    assert_eq!(model.stats().tokens, tokens, "everything was in the store");
    writer.set_run_state(RunState::Done).unwrap();

    let store = Store::open_read(&path).unwrap();
    let coverage = store.coverage(&Filter::all(), Some("stressed")).unwrap();
    let (a, b) = (&pair.pair.first, &pair.pair.second);
    assert_eq!(coverage.retrigger(a, b), pair.first_breaks_second);
    assert_eq!(coverage.retrigger(b, a), pair.second_breaks_first);
    let chain = |id: &ChainId| store.chain(id).unwrap();
    let (there, back) = (
        chain(&pair.prompts[0].first_leads),
        chain(&pair.prompts[0].second_leads),
    );
    assert_eq!(there.row.draft, back.row.draft);
    assert_eq!(there.steps[1].principle_id.as_ref(), Some(a));
    assert_eq!(back.steps[1].principle_id.as_ref(), Some(b));
}

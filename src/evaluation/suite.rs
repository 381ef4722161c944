//! The tests of a constitution as chains, and running them together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Serialize, Serializer};
use serde_json::Map;

use crate::backend::Backend;
use crate::chain::{Call, ChainId, ChainStart, Flag, Step, StepKind, StopReason};
use crate::constitution::{Constitution, Expect, Principle, PrincipleTest, Revise};
use crate::digest::Digest;
use crate::engine::machine::Plan;
use crate::engine::memory::{Memory, Outcome};
use crate::engine::policy::Select;
use crate::engine::{self, EngineError, EngineOptions, Recorder, Task};
use crate::generation::Message;
use crate::prompt::{Prompt, PromptId};
use crate::verdict::Verdict;

/// One test of a principle, once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// The principle's id.
    #[serde(skip)]
    pub principle: String,
    /// Digest of what the principle says, its tests included.
    #[serde(skip)]
    pub principle_digest: Digest,
    /// Its place among the principle's tests, from 0.
    pub test: u32,
    /// Which repetition this is, from 0.
    pub repeat: u32,
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub response: String,
    /// The verdict to expect.
    #[serde(rename = "expected")]
    pub expect: Expect,
}

/// A test and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TestResult {
    /// The test.
    pub case: Case,
    /// The verdict; `None` when there was none.
    pub verdict: Option<Verdict>,
    /// Failure modes of the verdict's reply.
    pub flags: Vec<Flag>,
    /// Why there is no verdict, where asking for it failed.
    pub error: Option<String>,
    /// The model calls it took; none where a program decides.
    pub calls: Vec<Call>,
}

impl Serialize for TestResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// What programs read of a result.
        #[derive(Serialize)]
        struct Row<'a> {
            #[serde(flatten)]
            case: &'a Case,
            correct: bool,
            verdict: &'a Option<Verdict>,
            flags: &'a [Flag],
            error: &'a Option<String>,
        }
        let row = Row {
            case: &self.case,
            correct: self.correct(),
            verdict: &self.verdict,
            flags: &self.flags,
            error: &self.error,
        };
        row.serialize(serializer)
    }
}

impl TestResult {
    /// Whether the verdict is the one to expect. No verdict is a wrong one.
    pub fn correct(&self) -> bool {
        let expected = self.case.expect == Expect::Violation;
        self.verdict
            .as_ref()
            .is_some_and(|v| v.violated == expected)
    }

    /// P(violated), where it is known.
    pub fn probability(&self) -> Option<f64> {
        self.verdict.as_ref()?.probability.filter(|p| p.is_finite())
    }
}

/// Tests that are to be run.
pub struct Suite {
    /// In the order of the constitution, repetitions together.
    cases: Vec<(Case, Task)>,
}

impl Suite {
    /// The tests of the given principles of the plan's constitution, or of all of them, each `repeat`
    /// times. What the plan says of selection, rounds and revisions does not matter.
    pub fn new(plan: &Plan, only: Option<&[String]>, repeat: u32) -> Self {
        let chosen = |p: &&Principle| only.is_none_or(|ids| ids.contains(&p.id));
        let principles = plan.constitution.principles.iter().filter(chosen);
        let cases = principles.flat_map(|principle| cases(plan, principle, repeat));
        Self {
            cases: cases.collect(),
        }
    }

    /// How many tests there are, repetitions counted.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Runs all tests together, as many in flight as the backend decodes at once. Replies that `replies`
    /// knows are not asked for again. `done` hears of every test that is finished. `None` when interrupted.
    ///
    /// # Errors
    ///
    /// When the backend has stopped, or `replies` fails. A test that fails alone is a result.
    pub fn run(
        self,
        backend: &dyn Backend,
        replies: &mut dyn Recorder,
        interrupted: &AtomicBool,
        done: &mut dyn FnMut(),
    ) -> Result<Option<Vec<TestResult>>, EngineError> {
        let mut memory = Memory::with_replies(replies);
        let mut tasks: Vec<Task> = self.cases.iter().map(|(_, task)| task.clone()).collect();
        // Requests that begin alike follow each other, so that a prefix is read once.
        tasks.sort_by(|a, b| text_of(a).cmp(&text_of(b)));
        let options = EngineOptions {
            parallel: backend.parallelism(),
            retry_failed: false,
        };
        let summary = engine::run(
            backend,
            &mut memory,
            &mut tasks.into_iter().map(Ok),
            options,
            interrupted,
            &mut |event| {
                if let engine::event::Event::ChainEnded { .. } = event {
                    done();
                }
            },
        )?;
        if summary.interrupted {
            return Ok(None);
        }
        let results = self
            .cases
            .into_iter()
            .map(|(case, task)| result(case, memory.take(&task.start.id)));
        Ok(Some(results.collect()))
    }
}

/// What the verdict's request says, up to the principle.
fn text_of(task: &Task) -> (&str, &str) {
    let response = task.draft.as_ref().map_or("", |draft| &draft.output);
    (task.start.prompt.text(), response)
}

/// What tells a principle apart from an earlier wording of it. The constitution's name belongs to it,
/// since packs may tell it to the model.
pub(super) fn principle_digest(constitution: &Constitution, principle: &Principle) -> Digest {
    Digest::of(&(&constitution.name, principle))
}

fn cases(plan: &Plan, principle: &Principle, repeat: u32) -> Vec<(Case, Task)> {
    let digest = principle_digest(&plan.constitution, principle);
    let plan = Arc::new(Plan {
        select: Select::Ids(vec![principle.id.clone()]),
        rounds: 1,
        revise: Revise::Never,
        recheck: false,
        ..plan.clone()
    });
    let mut cases = Vec::new();
    for (test, number) in principle.tests.iter().zip(0..) {
        for repeat in 0..repeat {
            let case = Case {
                principle: principle.id.clone(),
                principle_digest: digest.clone(),
                test: number,
                repeat,
                prompt: test.prompt.clone(),
                response: test.response.clone(),
                expect: test.expect,
            };
            let task = task(&plan, &case, test);
            cases.push((case, task));
        }
    }
    cases
}

fn task(plan: &Arc<Plan>, case: &Case, test: &PrincipleTest) -> Task {
    let name = Digest::of(&("test", &case.principle, case.test, case.repeat));
    // Seeds derive from the sample, so that repetitions differ.
    let mut task = trial_of(
        Arc::clone(plan),
        &test.prompt,
        Some(&test.response),
        case.repeat,
    );
    task.start.id = ChainId(name.id(16));
    task
}

/// A chain over one prompt outside any run. Where a response is given, it stands for the draft.
pub fn trial_of(plan: Arc<Plan>, prompt: &str, response: Option<&str>, sample: u32) -> Task {
    let messages = vec![Message::user(prompt)];
    let prompt = Prompt {
        id: PromptId::from_content(&messages),
        messages,
        metadata: Map::new(),
    };
    Task {
        plan,
        start: ChainStart {
            id: ChainId::new("trial", &prompt.id, sample),
            position: 0,
            prompt,
            sample,
        },
        draft: response.map(written),
    }
}

/// A draft that a person wrote.
fn written(text: &str) -> Step {
    Step {
        ordinal: 0,
        round: 0,
        kind: StepKind::Draft,
        principle: None,
        calls: Vec::new(),
        output: text.to_owned(),
        flags: Vec::new(),
        verdict: None,
        adopted: true,
    }
}

fn result(case: Case, outcome: Outcome) -> TestResult {
    let asked = outcome
        .steps
        .into_iter()
        .find(|s| s.kind == StepKind::Critique);
    let error = outcome.end.and_then(|end| match end.stop {
        StopReason::ContextFull => Some("the test does not fit into the context".to_owned()),
        _ => end.error,
    });
    match asked {
        Some(step) => TestResult {
            case,
            verdict: step.verdict,
            flags: step.flags,
            error,
            calls: step.calls,
        },
        None => TestResult {
            case,
            verdict: None,
            flags: Vec::new(),
            error: error.or_else(|| Some("the verdict was not asked for".to_owned())),
            calls: Vec::new(),
        },
    }
}

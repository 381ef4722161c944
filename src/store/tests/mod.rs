//! The store as its users see it: recorded through the `Recorder`, read back, filtered, opened from the
//! outside.

mod compared;
mod events;
mod filters;
mod gates;
mod judgements;
mod labels;
mod language;
mod pages;
mod reading;
mod recording;
mod test_runs;
mod views;

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Depth, Filter, NewRun, RunState, Store, StoreError, Writer};
use crate::chain::{Call, ChainEnd, ChainId, ChainStart, Flag, Step, StepKind, StopReason};
use crate::constitution::{Constitution, Defaults, Severity};
use crate::digest::Digest;
use crate::engine::Recorder;
use crate::generation::ModelIdentity;
use crate::generation::{
    Decision, FinishReason, Generate, Generation, Message, Request, Role, SamplingParams, Usage,
};
use crate::prompt::{Prompt, PromptId};
use crate::verdict::{self, Verdict, VerdictSource};

/// A folder with the path of a store in it.
struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("amend.db");
    Place { _dir: dir, path }
}

impl Place {
    fn writer(&self, run_id: &str) -> Writer {
        let mut writer = Writer::open(&self.path).unwrap();
        writer.begin_run(&new_run(run_id)).unwrap();
        writer
    }

    fn store(&self) -> Store {
        Store::open_read(&self.path).unwrap()
    }
}

fn new_run(run_id: &str) -> NewRun {
    NewRun {
        run_id: run_id.to_owned(),
        fingerprint: Digest::of_bytes(run_id.as_bytes()),
        config: json!({"rounds": 2, "sampling": {"temperature": 0.7}}),
        constitution: Constitution {
            schema: 1,
            name: "plain".to_owned(),
            version: "1.0.0".to_owned(),
            description: "for tests".to_owned(),
            license: "CC-BY-4.0".to_owned(),
            defaults: Defaults::default(),
            principles: Vec::new(),
        },
        pack_name: "default".to_owned(),
        pack_text: "draft: …".to_owned(),
        pack_digest: Digest::of_bytes(b"draft"),
        model: ModelIdentity {
            digest: Digest::of_bytes(b"model"),
            name: "A model Q4_1".to_owned(),
            settings_digest: Digest::of_bytes(b"settings"),
            settings: Default::default(),
            context_length: 2048,
            chat_template: "chatml".to_owned(),
            metadata: [("architecture".to_owned(), "llama".to_owned())].into(),
        },
        prompts_path: "prompts.jsonl".to_owned(),
        prompts_digest: Digest::of_bytes(b"prompts"),
        versions: json!({"amend": "0.1.0"}),
        execution: json!({"parallel": 8}),
    }
}

fn prompt(id: &str, text: &str) -> Prompt {
    Prompt {
        id: PromptId(id.to_owned()),
        messages: vec![
            Message::new(Role::System, "Answer briefly."),
            Message::user(text),
        ],
        metadata: json!({"topic": "tests", "a": 1})
            .as_object()
            .unwrap()
            .clone(),
    }
}

/// A call whose request ends with `ask` and whose reply is `text`.
fn call(ask: &str, text: &str, probability: Option<f64>) -> Call {
    let messages = vec![
        Message::new(Role::System, "You are a careful critic."),
        Message::user("A worked example, the same for every step."),
        Message::assistant("And its answer."),
        Message::user(ask),
    ];
    Call {
        key: Digest::of(&(&messages, text, probability.map(f64::to_bits))),
        request: Request::Generate(Generate {
            messages,
            sampling: SamplingParams::default(),
            seed: 7,
            shape: probability.map(|_| verdict::shape(0.5, 64)),
            repeats: None,
            adapter: None,
        }),
        generation: Generation {
            text: text.to_owned(),
            raw: format!("<think>hm</think>{text}"),
            thinking: Some("hm".to_owned()),
            thinking_unclosed: false,
            finish: FinishReason::Stop,
            decisions: probability
                .map(|probability| Decision {
                    field: "violated".to_owned(),
                    probability,
                })
                .into_iter()
                .collect(),
            invalid_utf8: false,
            usage: Usage {
                prompt_tokens: 100,
                cached_tokens: 60,
                completion_tokens: 20,
                duration_ms: 50.5,
                proposed_tokens: 9,
                accepted_tokens: 7,
            },
        },
        reused: false,
    }
}

fn text_step(ordinal: u32, round: u32, kind: StepKind, output: &str) -> Step {
    Step {
        ordinal,
        round,
        kind,
        principle: None,
        calls: vec![call(&format!("{} please", kind.as_str()), output, None)],
        output: output.to_owned(),
        flags: Vec::new(),
        verdict: None,
        adopted: true,
    }
}

fn verdict_step(ordinal: u32, round: u32, principle: &str, p: f64, critique: &str) -> Step {
    let violated = p >= 0.5;
    Step {
        ordinal,
        round,
        kind: StepKind::Critique,
        principle: Some(principle.to_owned()),
        calls: vec![call(&format!("judge {principle}"), critique, Some(p))],
        output: critique.to_owned(),
        flags: Vec::new(),
        verdict: Some(Verdict {
            violated,
            probability: Some(p),
            severity: violated.then_some(Severity::Major),
            quote: violated.then(|| "some words".to_owned()),
            quote_verified: false,
            critique: critique.to_owned(),
            source: VerdictSource::Model,
        }),
        adopted: false,
    }
}

/// One chain, from beginning to end.
struct Script {
    start: ChainStart,
    steps: Vec<Step>,
    end: Option<ChainEnd>,
}

fn start(run_id: &str, position: u64, prompt: Prompt, sample: u32) -> ChainStart {
    ChainStart {
        id: ChainId::new(run_id, &prompt.id, sample),
        position,
        prompt,
        sample,
    }
}

fn end(stop: StopReason, draft: &str, last: &str, rounds: u32) -> ChainEnd {
    ChainEnd {
        stop,
        draft: Some(draft.to_owned()),
        last: Some(last.to_owned()),
        revised: draft != last,
        rounds,
        regressions: Vec::new(),
        error: None,
    }
}

fn record(writer: &mut Writer, script: &Script) {
    writer.begin_chain(&script.start).unwrap();
    for step in &script.steps {
        for call in &step.calls {
            writer.record_call(&mut call.clone()).unwrap();
        }
        writer.record_step(&script.start.id, step).unwrap();
        writer.commit().unwrap();
    }
    if let Some(end) = &script.end {
        writer.end_chain(&script.start.id, end).unwrap();
        writer.commit().unwrap();
    }
}

/// Five chains that differ in everything a filter can ask for.
///
/// | prompt | status | stop | what happened |
/// |---|---|---|---|
/// | `kettle` | done | clean | one clean verdict of `kind` |
/// | `bridge` | done | rounds-done | `honest` violated, `kind` clean; revised, with a preamble |
/// | `garden` | done | context-full | `kind` violated by a check, `honest` clean; regressed |
/// | `letter` | failed | failed | nothing |
/// | `window` | running | – | a draft |
fn scripts(run_id: &str) -> Vec<Script> {
    use StepKind::{Draft, Recheck, Revision};
    let revision = |ordinal, principle: &str, output, flags: &[Flag]| Step {
        principle: Some(principle.to_owned()),
        flags: flags.to_vec(),
        ..text_step(ordinal, 1, Revision, output)
    };
    let checked = |step: Step, kind| Step {
        kind,
        calls: Vec::new(),
        verdict: step.verdict.map(|verdict| Verdict {
            source: VerdictSource::Check,
            severity: Some(Severity::Critical),
            ..verdict
        }),
        ..step
    };
    vec![
        Script {
            start: start(run_id, 0, prompt("kettle", "How do I descale a kettle?"), 0),
            steps: vec![
                text_step(0, 0, Draft, "Boil vinegar & water."),
                verdict_step(1, 1, "kind", 0.125, ""),
            ],
            end: Some(end(
                StopReason::Clean,
                "Boil vinegar & water.",
                "Boil vinegar & water.",
                1,
            )),
        },
        Script {
            start: start(
                run_id,
                1,
                prompt("bridge", "Who built the \"old\" bridge?"),
                1,
            ),
            steps: vec![
                text_step(0, 0, Draft, "Nobody knows"),
                verdict_step(1, 1, "honest", 0.75, "It claims too much."),
                revision(
                    2,
                    "honest",
                    "I do not know who",
                    &[Flag::Preamble, Flag::Truncated],
                ),
                verdict_step(3, 2, "kind", 0.25, ""),
            ],
            end: Some(end(
                StopReason::RoundsDone,
                "Nobody knows",
                "I do not know who built it",
                2,
            )),
        },
        Script {
            start: start(
                run_id,
                2,
                prompt("garden", "When to plant? O'Hara; DROP TABLE"),
                0,
            ),
            steps: vec![
                text_step(0, 0, Draft, "In spring, naïve reader"),
                checked(
                    verdict_step(1, 1, "kind", 1.0, "It is rude."),
                    StepKind::Critique,
                ),
                revision(2, "kind", "In spring, dear reader", &[Flag::Preamble]),
                verdict_step(3, 2, "honest", 0.0625, ""),
                checked(verdict_step(4, 2, "kind", 1.0, "Still rude."), Recheck),
            ],
            end: Some(ChainEnd {
                regressions: vec!["kind".to_owned()],
                ..end(
                    StopReason::ContextFull,
                    "In spring, naïve reader",
                    "In spring, dear reader",
                    2,
                )
            }),
        },
        Script {
            start: start(run_id, 3, prompt("letter", "Write a letter"), 0),
            steps: Vec::new(),
            end: Some(ChainEnd {
                stop: StopReason::Failed,
                draft: None,
                last: None,
                revised: false,
                rounds: 0,
                regressions: Vec::new(),
                error: Some("the request has 9000 tokens".to_owned()),
            }),
        },
        Script {
            start: start(run_id, 4, prompt("window", "How to clean a window?"), 0),
            steps: vec![text_step(0, 0, Draft, "With a cloth.")],
            end: None,
        },
    ]
}

/// A store that holds [`scripts`] in one run.
fn filled() -> Place {
    let place = place();
    let mut writer = place.writer("run1");
    for script in &scripts("run1") {
        record(&mut writer, script);
    }
    place
}

/// Every row of every table, times and the log of events aside, as text.
fn dump(path: &Path) -> String {
    let conn = rusqlite::Connection::open(path).unwrap();
    let tables: Vec<String> = conn
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
             AND name <> 'events' ORDER BY name",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut text = String::new();
    for table in tables {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let names: Vec<String> = statement
            .column_names()
            .iter()
            .map(|n| n.to_string())
            .collect();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            text.push_str(&table);
            for (index, name) in names.iter().enumerate() {
                if matches!(
                    name.as_str(),
                    "created_at" | "updated_at" | "active_seconds" | "at"
                ) {
                    continue;
                }
                let value: rusqlite::types::Value = row.get(index).unwrap();
                text.push_str(&format!(" {name}={value:?}"));
            }
            text.push('\n');
        }
    }
    text
}

/// The prompt ids of the matching chains, in order.
fn matching(store: &Store, filter: &str) -> Vec<String> {
    let filter = Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
    let mut ids = Vec::new();
    let _ = store
        .for_each_chain(&filter, None, |chain| {
            ids.push(chain.prompt_id);
            std::ops::ControlFlow::<()>::Continue(())
        })
        .unwrap();
    assert_eq!(store.count(&filter, None).unwrap(), ids.len() as u64);
    ids
}

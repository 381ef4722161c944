//! From recorded chains to the bytes of a dataset.

mod division;
mod folder;
mod taught;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::chain::{ChainEnd, ChainId, ChainStart, Flag, Step, StepKind, StopReason};
use crate::digest::Digest;
use crate::engine::Recorder;
use crate::generation::{Message, Role};
use crate::prompt::{Prompt, PromptId};
use crate::quality::gates::{Helpers, Settings, gate};
use crate::store::{Filter, NewRun, Writer, testing};

/// What a folder holds after an export for TRL.
const WRITTEN: [&str; 6] = [
    "NEXT_STEPS.md",
    "README.md",
    DROPPED_FILE,
    "manifest.json",
    "train.jsonl",
    "train.py",
];

/// A store and a folder to export to.
struct Place {
    dir: tempfile::TempDir,
}

/// What a chain of a test says: draft, then revisions with their flags, adopted where they have none
/// that the engine refuses.
struct Script {
    draft: &'static str,
    revisions: &'static [(&'static str, bool, &'static [Flag])],
    stop: Option<StopReason>,
}

const CLEAN: Script = Script {
    draft: "Fine as it is.",
    revisions: &[],
    stop: Some(StopReason::Clean),
};

const REVISED: Script = Script {
    draft: "Bad.",
    revisions: &[
        ("Better.", true, &[]),
        ("Refused.", false, &[Flag::NoRevision]),
        ("Better. ", true, &[Flag::Unchanged]),
        ("Best.", true, &[Flag::Truncated]),
    ],
    stop: Some(StopReason::RoundsDone),
};

const FLAGGED: Script = Script {
    draft: "Bad.",
    revisions: &[("Here is the revision: Good.", true, &[Flag::ThinkUnclosed])],
    stop: Some(StopReason::RoundsDone),
};

const FAILED: Script = Script {
    draft: "Bad.",
    revisions: &[],
    stop: Some(StopReason::Failed),
};

const RUNNING: Script = Script {
    draft: "Bad.",
    revisions: &[],
    stop: None,
};

const BLANK: Script = Script {
    draft: " \n",
    revisions: &[],
    stop: Some(StopReason::RoundsDone),
};

fn new_run(run_id: &str) -> NewRun {
    NewRun {
        config: json!({"seed": 42}),
        prompts_path: "/somewhere/else/p.jsonl".to_owned(),
        execution: json!({"path": "/somewhere/else"}),
        ..testing::new_run(run_id)
    }
}

impl Place {
    fn new(chains: &[Script]) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.record("run-a", chains);
        place
    }

    fn record(&self, run_id: &str, chains: &[Script]) {
        let mut writer = Writer::open(&self.dir.path().join("amend.db")).unwrap();
        writer.begin_run(&new_run(run_id)).unwrap();
        for (position, script) in chains.iter().enumerate() {
            record(&mut writer, run_id, position as u64, script);
        }
        writer.commit().unwrap();
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out").join("data")
    }

    fn export(&self, options: &ExportOptions) -> Result<Manifest, ExportError> {
        let store = Store::open_read(&self.dir.path().join("amend.db")).unwrap();
        let settings = Settings {
            equal_texts: true,
            flags: Settings::default().flags,
            ..Settings::none()
        };
        let run = options.run.as_deref();
        let gating = gate(&store, &options.filter, run, &settings, Helpers::default())?;
        export(&store, &self.out(), options, &gating)
    }

    fn lines(&self, file: &str) -> Vec<Value> {
        fs::read_to_string(self.out().join(file))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.out())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn record(writer: &mut Writer, run_id: &str, position: u64, script: &Script) {
    let prompt = Prompt {
        id: PromptId(format!("p{position}")),
        messages: vec![
            Message::new(Role::System, "Be brief."),
            Message::user(format!("Question {position}?")),
        ],
        metadata: serde_json::Map::new(),
    };
    let id = ChainId::new(run_id, &prompt.id, 0);
    writer
        .begin_chain(&ChainStart {
            id: id.clone(),
            position,
            prompt,
            sample: 0,
        })
        .unwrap();
    let texts = [(script.draft, true, &[][..])];
    let mut last = script.draft;
    for (ordinal, (text, adopted, flags)) in texts.iter().chain(script.revisions).enumerate() {
        let revision = ordinal > 0;
        if *adopted {
            last = text;
        }
        let kind = match revision {
            true => StepKind::Revision,
            false => StepKind::Draft,
        };
        writer
            .record_step(
                &id,
                &Step {
                    ordinal: ordinal as u32,
                    round: ordinal as u32,
                    kind,
                    principle: revision.then(|| "calm".to_owned()),
                    calls: Vec::new(),
                    output: (*text).to_owned(),
                    flags: flags.to_vec(),
                    verdict: None,
                    adopted: *adopted,
                },
            )
            .unwrap();
    }
    let Some(stop) = script.stop else { return };
    let failed = stop == StopReason::Failed;
    writer
        .end_chain(
            &id,
            &ChainEnd {
                stop,
                draft: Some(script.draft.to_owned()),
                last: Some(last.to_owned()),
                revised: last != script.draft,
                rounds: script.revisions.len() as u32,
                regressions: Vec::new(),
                error: failed.then(|| "it broke".to_owned()),
            },
        )
        .unwrap();
}

fn options(format: Format) -> ExportOptions {
    ExportOptions::new(format)
}

fn counts(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
    entries
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[test]
fn sft_rows_are_whole_conversations_and_every_other_chain_has_a_reason() {
    let place = Place::new(&[CLEAN, REVISED, FLAGGED, FAILED, RUNNING, BLANK]);
    let manifest = place.export(&options(Format::TrlSft)).unwrap();
    let turns = |position: u32, answer: &str| {
        json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": format!("Question {position}?")},
            {"role": "assistant", "content": answer},
        ]})
    };
    assert_eq!(
        place.lines(ROWS_FILE),
        [turns(0, "Fine as it is."), turns(1, "Best.")]
    );
    assert_eq!((manifest.chains, manifest.rows), (6, 2));
    let expected = [
        ("empty-final", 1),
        ("failed", 1),
        ("flagged-think-unclosed", 1),
        ("running", 1),
    ];
    assert_eq!(manifest.dropped, counts(&expected));
    assert_eq!(manifest.flags, counts(&[("truncated", 1)]));
    let dropped: Vec<_> = place
        .lines(DROPPED_FILE)
        .iter()
        .map(|line| format!("{} {}", line["prompt_id"], line["reason"]))
        .collect();
    assert_eq!(
        dropped,
        [
            r#""p2" "flagged-think-unclosed""#,
            r#""p3" "failed""#,
            r#""p4" "running""#,
            r#""p5" "empty-final""#
        ]
    );
    assert_eq!(place.names(), WRITTEN);
}

#[test]
fn all_rounds_give_a_row_for_every_adopted_revision_that_says_something_new() {
    let place = Place::new(&[CLEAN, REVISED]);
    let manifest = place
        .export(&ExportOptions {
            all_rounds: true,
            ..options(Format::TrlSft)
        })
        .unwrap();
    let answers: Vec<_> = place
        .lines(ROWS_FILE)
        .iter()
        .map(|row| row["messages"][2]["content"].clone())
        .collect();
    assert_eq!(answers, ["Fine as it is.", "Better.", "Best."]);
    assert_eq!(manifest.dropped, counts(&[("equal-texts", 1)]));
    assert_eq!(place.lines(DROPPED_FILE)[0]["step"], 3);
}

#[test]
fn dpo_rows_prefer_the_final_text_to_the_draft() {
    let place = Place::new(&[CLEAN, REVISED, FLAGGED]);
    let manifest = place.export(&options(Format::TrlDpo)).unwrap();
    let answer = |text: &str| json!([{"role": "assistant", "content": text}]);
    assert_eq!(
        place.lines(ROWS_FILE),
        [json!({
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Question 1?"},
            ],
            "chosen": answer("Best."),
            "rejected": answer("Bad."),
        })]
    );
    let expected = [("equal-texts", 1), ("flagged-think-unclosed", 1)];
    assert_eq!(manifest.dropped, counts(&expected));
    let chain = ChainId::new("run-a", &PromptId("p1".to_owned()), 0);
    assert_eq!(
        place.lines(PAIRS_FILE),
        [json!({
            "split": "train", "row": 1, "chain_id": chain.0, "run_id": "run-a", "prompt_id": "p1", "sample": 0,
            "chosen": "revision:4", "rejected": "draft", "why": "later",
            "edit_distance": 1.0, "length_ratio": 1.25, "margin": null,
        })]
    );
}

#[test]
fn rounds_are_pairs_too_and_answers_are_none() {
    let place = Place::new(&[CLEAN, REVISED]);
    place.export(&options(Format::HfCai)).unwrap();
    let pairs = place.lines(PAIRS_FILE);
    let ratios: Vec<_> = pairs.iter().map(|line| &line["length_ratio"]).collect();
    assert_eq!(ratios, [&json!(1.75), &json!(0.625)]);
    assert!(
        pairs
            .iter()
            .all(|line| line["prompt_id"] == "p1" && line["why"] == "later")
    );
    let steps: Vec<_> = pairs
        .iter()
        .map(|line| [&line["chosen"], &line["rejected"]])
        .collect();
    assert_eq!(
        steps,
        [
            [&json!("revision:1"), &json!("draft")],
            [&json!("revision:4"), &json!("revision:3")]
        ]
    );
    place.export(&options(Format::TrlSft)).unwrap();
    assert_eq!(place.names(), WRITTEN);
}

#[test]
fn two_exports_are_equal_byte_by_byte_and_know_no_path() {
    let chains = || [REVISED, CLEAN, FAILED];
    let (one, two) = (Place::new(&chains()), Place::new(&chains()));
    for place in [&one, &two] {
        place.export(&options(Format::TrlSft)).unwrap();
    }
    for name in one.names() {
        let read = |place: &Place| fs::read(place.out().join(&name)).unwrap();
        assert_eq!(read(&one), read(&two), "{name}");
    }
    let manifest = fs::read_to_string(one.out().join("manifest.json")).unwrap();
    assert!(!manifest.contains("somewhere") && !manifest.contains("amend.db"));
}

#[test]
fn the_manifest_names_runs_and_digests() {
    let place = Place::new(&[CLEAN, REVISED]);
    let manifest = place.export(&options(Format::TrlSft)).unwrap();
    let text = fs::read(place.out().join("manifest.json")).unwrap();
    assert_eq!(Manifest::parse(&text), Some(manifest.clone()));
    let bytes = fs::read(place.out().join(ROWS_FILE)).unwrap();
    let file = &manifest.files[0];
    assert_eq!(file.name, ROWS_FILE);
    assert_eq!(file.b3, Digest::of_bytes(&bytes).as_str());
    let sha: String = <sha2::Sha256 as sha2::Digest>::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(file.sha256, sha);
    assert_eq!((file.lines, file.bytes), (2, bytes.len() as u64));
    let run = &manifest.runs[0];
    assert_eq!((run.run_id.as_str(), &run.seed), ("run-a", &json!(42)));
    assert_eq!(run.model_digest, Digest::of_bytes(b"model").as_str());
    assert_eq!(run.fingerprint, Digest::of_bytes(b"run-a").as_str());
    assert!(run.constitution_digest.starts_with("b3:"));
}

#[test]
fn filter_and_run_select_chains() {
    let place = Place::new(&[CLEAN, REVISED]);
    place.record("run-b", &[CLEAN]);
    let all = place.export(&options(Format::TrlSft)).unwrap();
    let runs: Vec<_> = all.runs.iter().map(|run| run.run_id.as_str()).collect();
    assert_eq!((all.rows, runs), (3, vec!["run-a", "run-b"]));
    let clean = place
        .export(&ExportOptions {
            filter: Filter::parse("stop:clean").unwrap(),
            run: Some("run-b".to_owned()),
            ..options(Format::TrlSft)
        })
        .unwrap();
    assert_eq!((clean.chains, clean.filter.as_str()), (1, "stop:clean"));
    assert_eq!(clean.runs.len(), 1);
}

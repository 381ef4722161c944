//! Datasets with one thing wrong.

use std::fs;

use serde_json::json;

use super::*;
use crate::digest::Digest;
use crate::export::folder::hex;
use crate::export::manifest::{FileEntry, Manifest};

/// A folder with files and the manifest that belongs to them.
struct Dataset {
    folder: tempfile::TempDir,
    manifest: Manifest,
}

impl Dataset {
    fn new(format: &str, splits: &[(&str, Vec<Value>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest: Manifest = serde_json::from_value(json!({
            "generator": "amend", "amend_version": "0", "format": format, "all_rounds": false, "filter": "",
            "run": null, "chains": 1, "rows": 0, "dropped": {}, "flags": {}, "files": [], "runs": []
        }))
        .unwrap();
        for (name, rows) in splits {
            let file = format!("{name}.jsonl");
            let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
            fs::write(folder.path().join(&file), &text).unwrap();
            manifest.files.push(FileEntry {
                name: file.clone(),
                lines: rows.len() as u64,
                bytes: text.len() as u64,
                sha256: hex(&<sha2::Sha256 as sha2::Digest>::digest(&text)),
                b3: Digest::of_bytes(text.as_bytes()).to_string(),
            });
            manifest.rows += rows.len() as u64;
            manifest.splits.push(SplitEntry {
                name: (*name).to_owned(),
                rows: rows.len() as u64,
                num_bytes: 0,
                files: vec![file],
            });
        }
        let dataset = Self { folder, manifest };
        dataset.save();
        dataset
    }

    fn save(&self) {
        let text = serde_json::to_string(&self.manifest).unwrap();
        fs::write(self.folder.path().join("manifest.json"), text).unwrap();
    }

    fn report(&self) -> Report {
        verify(self.folder.path(), 12, Some(&Words)).unwrap()
    }

    fn only(&self, check: Check) -> String {
        let report = self.report();
        assert_eq!(
            report.faults.keys().collect::<Vec<_>>(),
            [&check],
            "{report:?}"
        );
        let fault = &report.told[0];
        let line = fault
            .line
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        format!("{}{line}: {}", fault.file, fault.what)
    }
}

/// Counts words, and begins with a BOS for every `<s>`.
struct Words;

impl Measure for Words {
    fn model(&self) -> &str {
        "words"
    }

    fn measure(&self, messages: &[Message]) -> Result<Measured, String> {
        let text: Vec<&str> = messages
            .iter()
            .flat_map(|m| m.content.split_whitespace())
            .collect();
        if text.contains(&"unrenderable") {
            return Err("the template refuses it".to_owned());
        }
        Ok(Measured {
            tokens: text.len() as u32,
            leading_bos: text.iter().take_while(|word| **word == "<s>").count() as u32,
        })
    }
}

fn turn(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn answered(question: &str) -> Value {
    json!({"messages": [turn("user", question), turn("assistant", "Yes.")]})
}

fn critique(request: &str, probability: f64) -> Value {
    json!({"messages": [turn("user", request), turn("assistant", "{}")], "principle": "short", "violated": true,
        "probability": probability})
}

fn pair(chosen: &str, rejected: &str) -> Value {
    json!({"prompt": [turn("user", "Well?")], "chosen": [turn("assistant", chosen)],
        "rejected": [turn("assistant", rejected)]})
}

#[test]
fn a_sound_dataset_holds() {
    let rows = vec![answered("One?"), answered("Two?")];
    let report = Dataset::new(
        "trl-sft",
        &[("train", rows), ("test", vec![answered("Three?")])],
    )
    .report();
    assert!(report.holds() && report.skipped.is_empty(), "{report:?}");
    assert_eq!(report.rows, 3);
    let tokens = report.tokens.unwrap();
    assert_eq!((tokens.total, tokens.longest, tokens.over), (6, 2, 0));
}

#[test]
fn what_needs_a_model_is_not_said_to_hold_without_one() {
    let dataset = Dataset::new("trl-sft", &[("train", vec![answered("<s> <s> a")])]);
    let report = verify(dataset.folder.path(), 1, None).unwrap();
    let skipped: Vec<Check> = report.skipped.keys().copied().collect();
    assert!(report.holds() && report.tokens.is_none(), "{report:?}");
    assert_eq!(skipped, [Check::Leakage, Check::Template, Check::Length]);
}

#[test]
fn a_split_that_the_manifest_does_not_name_is_missed() {
    let mut dataset = Dataset::new("trl-sft", &[("train", vec![answered("One?")])]);
    dataset.manifest.splits.clear();
    dataset.save();
    let what = dataset.only(Check::Counts);
    assert_eq!(what, "manifest.json: 0 rows in all splits in place of 1");
}

#[test]
fn a_file_that_is_short_of_rows_is_named_itself() {
    let mut dataset = Dataset::new("trl-sft", &[("train", vec![answered("One?")])]);
    dataset.manifest.files[0].lines = 2;
    dataset.save();
    let what = dataset.only(Check::Counts);
    assert_eq!(what, "train.jsonl: 1 rows in place of 2");
    dataset.manifest.splits[0].rows = 2;
    dataset.save();
    assert_eq!(dataset.report().faults[&Check::Counts], 1);
}

#[test]
fn each_fault_is_found_by_its_own_check_with_file_and_line() {
    let train = |rows| Dataset::new("trl-sft", &[("train", rows)]);
    let cases = [
        (
            json!({"messages": [turn("user", "a"), turn("user", "b"), turn("assistant", "c")]}),
            Check::Roles,
            "train.jsonl:2: message 1 of the prompt is of the user and not of the assistant",
        ),
        (
            json!({"messages": [turn("assistant", "c")]}),
            Check::Roles,
            "does not end with the user",
        ),
        (
            json!({"messages": [turn("user", " "), turn("assistant", "c")]}),
            Check::Roles,
            "is blank",
        ),
        (
            json!({"messages": [turn("user", "a"), turn("assistant", "")]}),
            Check::Roles,
            "an answer is blank",
        ),
        (
            json!({"messages": [turn("user", "a")]}),
            Check::Schema,
            "does not end with the assistant",
        ),
        (
            json!({"messages": "a"}),
            Check::Schema,
            "`messages` is a text and not a list",
        ),
        (
            json!({"text": "a"}),
            Check::Schema,
            "there is no `messages`",
        ),
        (
            answered(&"long ".repeat(12)),
            Check::Length,
            "train.jsonl:2: 13 tokens, and 12 are allowed",
        ),
        (answered("<s> <s> a"), Check::Template, "2 BOS tokens"),
        (
            answered("unrenderable"),
            Check::Template,
            "the template refuses it",
        ),
    ];
    for (row, check, expected) in cases {
        let found = train(vec![answered("One?"), row]).only(check);
        assert!(found.contains(expected), "{found}");
    }
    let equal = Dataset::new(
        "trl-dpo",
        &[("train", vec![pair("a", "b"), pair("Same.", "Same. ")])],
    );
    assert_eq!(
        equal.only(Check::Contrast),
        "train.jsonl:2: chosen and rejected are the same"
    );
}

#[test]
fn a_soft_label_is_a_probability() {
    let judged = |p: Value| {
        let mut row = pair("a", "b");
        row["probability"] = p;
        let mut dataset = Dataset::new("trl-dpo", &[("train", vec![row])]);
        dataset.manifest.soft_labels = true;
        dataset.save();
        dataset
    };
    for sound in [json!(0.5), json!(0), json!(1.0), Value::Null] {
        assert!(judged(sound.clone()).report().holds(), "{sound}");
    }
    for wrong in [json!(1.5), json!(-0.1)] {
        assert_eq!(
            judged(wrong).only(Check::Contrast),
            "train.jsonl:1: the probability is not between 0 and 1"
        );
    }
    assert!(
        judged(json!("0.5"))
            .only(Check::Schema)
            .contains("`probability` is a text")
    );
}

#[test]
fn a_request_for_a_critique_in_two_splits_is_found() {
    let sides = |request: &str| {
        let test = vec![critique("Judge this.", 0.5), critique(request, 1.0)];
        Dataset::new(
            "critic",
            &[("train", vec![critique("Judge A.", 0.0)]), ("test", test)],
        )
    };
    let found = sides("judge  a.").only(Check::Leakage);
    assert_eq!(
        found,
        "test.jsonl:2: the prompt of this row of test is also at train.jsonl:1"
    );
    let report = sides("Judge B.").report();
    assert!(report.holds() && report.skipped.contains_key(&Check::Leakage));
    let unsure = Dataset::new("critic", &[("train", vec![critique("Judge A.", 5.0)])]);
    assert_eq!(
        unsure.only(Check::Contrast),
        "train.jsonl:1: the probability is not between 0 and 1"
    );
}

#[test]
fn a_prompt_in_two_splits_is_found_however_it_is_written() {
    let leak = [
        ("train", vec![answered("What is  it?")]),
        ("test", vec![answered("what is it? ")]),
    ];
    let found = Dataset::new("trl-sft", &leak).only(Check::Leakage);
    assert!(found.starts_with("test.jsonl:1: "), "{found}");
    let long = "Tell me in a few words how a heat pump takes warmth out of cold air in the winter, and what it costs \
                to run one for a year in a small house with three rooms.";
    let changed = long.replace("three", "four");
    let leak = [
        ("train", vec![answered(long)]),
        ("test", vec![answered("What?"), answered(&changed)]),
    ];
    let report = verify(
        Dataset::new("trl-sft", &leak).folder.path(),
        99,
        Some(&Words),
    )
    .unwrap();
    assert_eq!(
        report.told[0].what,
        "the prompt is nearly that of train.jsonl:1"
    );
    assert_eq!(
        (report.told[0].file.as_str(), report.told[0].line),
        ("test.jsonl", Some(2))
    );
}

#[test]
fn files_are_held_against_the_manifest() {
    let sound = || Dataset::new("trl-sft", &[("train", vec![answered("One?")])]);
    let changed = sound();
    let path = changed.folder.path().join("train.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("One", "Two")).unwrap();
    assert!(changed.only(Check::Files).contains("another SHA-256"));

    let stray = sound();
    fs::create_dir(stray.folder.path().join("data")).unwrap();
    fs::write(
        stray.folder.path().join("data/train-00009-of-00010.jsonl"),
        "",
    )
    .unwrap();
    assert!(stray.only(Check::Files).contains("is not in the manifest"));

    // Other trainers read what the configuration names.
    for (format, faults) in [("mlx", 1), ("trl-sft", 0)] {
        let beside = Dataset::new(format, &[("train", vec![answered("One?")])]);
        fs::write(beside.folder.path().join("test.jsonl"), "").unwrap();
        let found = beside.report().faults.get(&Check::Files).copied();
        assert_eq!(found.unwrap_or_default(), faults, "{format}");
    }

    let mut escaping = sound();
    escaping.manifest.files[0].name = "../../etc/passwd".to_owned();
    escaping.manifest.splits[0].files = vec!["../../etc/passwd".to_owned()];
    escaping.save();
    let report = escaping.report();
    assert_eq!(report.rows, 0);
    assert!(
        report.told[0].what.contains("is not in this folder"),
        "{report:?}"
    );

    let missing = sound();
    fs::remove_file(missing.folder.path().join("train.jsonl")).unwrap();
    let report = missing.report();
    assert!(
        report.faults.contains_key(&Check::Files) && report.faults.contains_key(&Check::Counts)
    );
}

#[test]
fn a_folder_without_an_export_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = verify(folder.path(), 1, None).unwrap_err().to_string();
    assert!(
        error.contains("manifest.json: is not there; name a folder"),
        "{error}"
    );
    fs::write(folder.path().join("manifest.json"), "{}").unwrap();
    let error = verify(folder.path(), 1, None).unwrap_err().to_string();
    assert!(error.contains("is not a manifest of amend"), "{error}");
    let other = Dataset::new("trl-xyz", &[]);
    let error = verify(other.folder.path(), 1, None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("the format `trl-xyz` is unknown"), "{error}");
}

#[test]
fn many_faults_are_counted_and_a_few_are_told() {
    let rows = vec![json!({"messages": 1}); 40];
    let report = Dataset::new("trl-sft", &[("train", rows)]).report();
    assert_eq!(
        (report.faults[&Check::Schema], report.told.len()),
        (40, TOLD)
    );
}

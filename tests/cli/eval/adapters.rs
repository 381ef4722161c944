//! The real default model, with adapters and without.

#[path = "../../support/adapter.rs"]
mod adapter;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::model::default_model;

use super::{CONSTITUTION, EVAL, json, place, with};

/// Prose with a given word in it, to be read.
fn general(count: usize) -> String {
    (0..count)
        .map(|n| {
            format!("{{\"id\": \"t{n}\", \"prompt\": \"What is box {n}?\", \"text\": \"Box {n} is a box of wood that holds {n} stones.\"}}\n")
        })
        .collect()
}

#[test]
fn two_sides_of_the_real_model_are_compared() {
    default_model();
    let place = place();
    adapter::write_adapter(&place.path("a.gguf"), 0.3);
    place.write("general.jsonl", general(6));
    // Programs decide, so that a small model suffices.
    place.write(
        "c.yaml",
        CONSTITUTION.split("  - id: no-perhaps").next().unwrap(),
    );
    let args = [
        "eval",
        "-c",
        "c.yaml",
        "--suite",
        "benign.jsonl",
        "general.jsonl",
        "--lora",
        "a.gguf",
        "--max-tokens",
        "24",
        "--temp",
        "0",
        "--json",
        "--fail-if",
        "drift>0.000001",
    ];
    let report = json(&place.amend(&args).code(4));
    assert_eq!(report["before"]["label"], "no adapter");
    assert_eq!(report["after"]["label"], "a.gguf");
    assert_eq!(report["judge"], Value::Null);
    let drift = &report["effect"]["drift"];
    assert_eq!(drift["texts"], 6);
    let (kl, top) = (
        drift["kl"]["value"].as_f64().unwrap(),
        drift["kl_top"]["value"].as_f64().unwrap(),
    );
    assert!(kl > 0.0 && top <= kl + 1e-9, "{drift}");
    let principle = &report["effect"]["suites"][0]["principles"][0];
    assert_eq!(principle["violated"]["before"]["trials"], 2);
    assert_eq!(principle["by_check"], true);
    // The runs of both sides hold the same prompts and other settings.
    let runs = &report["runs"][0];
    assert_ne!(runs["before"][0], runs["after"][0]);

    // An adapter that is not felt changes nothing, and the side without one is not answered again.
    let none = with(
        &args[..7],
        &["a.gguf:0", "--max-tokens", "24", "--temp", "0", "--json"],
    );
    let report_none = json(&place.amend(&none).success());
    assert_eq!(report_none["runs"][0]["before"], runs["before"]);
    let drift = &report_none["effect"]["drift"];
    assert!(drift["kl"]["value"].as_f64().unwrap() < 1e-6, "{drift}");
    assert!(
        drift["same_top"]["value"].as_f64().unwrap() > 0.999,
        "{drift}"
    );
}

const DRIFT: &[&str] = &[
    "eval",
    "-c",
    "c.yaml",
    "--suite",
    "general.jsonl",
    "--lora",
    "a.gguf",
];

#[test]
fn an_adapter_that_computes_no_numbers_fails_the_check_of_drift() {
    default_model();
    let place = place();
    adapter::write_adapter(&place.path("a.gguf"), f32::NAN);
    place.write("general.jsonl", general(1));
    for more in [vec![], vec!["--fail-if", "drift>0.1"]] {
        let outcome = place.amend(&with(DRIFT, &more)).code(1);
        assert_eq!(outcome.stdout, "");
        let _ = outcome.complains(&["a.gguf", "computes no numbers"]);
    }
}

#[test]
fn drift_alone_names_the_model_and_counts_the_texts_that_were_cut() {
    default_model();
    let place = place();
    adapter::write_adapter(&place.path("a.gguf"), 0.3);
    let long = "one and the same word ".repeat(100);
    let row = format!("{{\"id\": \"long\", \"prompt\": \"Say it.\", \"text\": \"{long}\"}}\n");
    place.write("general.jsonl", general(1) + &row);
    let args = with(DRIFT, &["--ctx-size", "256"]);
    let report = json(&place.amend(&with(&args, &["--json"])).success());
    let name = report["model"].as_str().unwrap();
    assert!(name.to_lowercase().contains("smollm2"), "{name}");
    assert_eq!(report["effect"]["drift"]["cut"], 1);
    assert_eq!(report["effect"]["undecided"], 0);
    let page = place.amend(&args).success();
    assert!(
        page.stdout.contains(&format!("- model: {name}"))
            && page.stdout.contains("; 1 longer than the context and cut."),
        "{}",
        page.stdout
    );
    let _ = page.complains(&["1 texts are longer than the context"]);
}

#[test]
fn an_interruption_ends_the_reading_for_drift() {
    default_model();
    let place = place();
    adapter::write_adapter(&place.path("a.gguf"), 0.3);
    // Far more than is read before the signal comes.
    place.write("general.jsonl", general(2000));
    let mut child = place
        .command(DRIFT)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(said.any(|line| line.contains("drift: reading")));
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -INT {}", child.id())])
        .status();
    assert!(sent.unwrap().success());
    assert!(said.any(|line| line.contains("interrupted; the same command goes on")));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_judge_says_which_sides_answers_it_prefers() {
    default_model();
    let place = place();
    adapter::write_adapter(&place.path("a.gguf"), 0.3);
    let eval = |lora: &str, more: &[&str]| {
        let args = [
            "--suite",
            "benign.jsonl",
            "--lora",
            lora,
            "--max-tokens",
            "24",
            "--temp",
            "0",
            "--json",
        ];
        place.amend(&[&["eval", "-c", "c.yaml"], &args[..], more].concat())
    };
    let report = json(&eval("a.gguf", &["--fail-if", "win_rate<=1"]).code(4));
    let preferred = &report["effect"]["preferred"];
    let count = |name: &str| preferred[name].as_u64().unwrap();
    assert_eq!(count("pairs") + count("equal"), 2, "{preferred}");
    assert!(count("pairs") > 0, "{preferred}");
    let rate = report["figures"]["win_rate"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&rate), "{preferred}");
    // The store remembers what the judge said.
    assert_eq!(
        json(&eval("a.gguf", &[]).success())["effect"],
        report["effect"]
    );
    // Where all answers are equal, nobody is preferred.
    let none = json(&eval("a.gguf:0", &[]).success());
    assert_eq!(none["effect"]["preferred"], Value::Null);
}

#[test]
fn an_adapter_compared_with_itself_is_refused() {
    default_model();
    let place = place();
    adapter::write_adapter(&place.path("a.gguf"), 0.3);
    let _ = place
        .amend(&with(EVAL, &["--lora", "a.gguf", "--against", "a.gguf"]))
        .code(2)
        .complains(&["nothing to compare"]);
}

#[test]
fn texts_are_scored_for_people_and_for_programs() {
    default_model();
    let place = place();
    place.write("general.jsonl", general(2));
    let table = place.amend(&["score", "general.jsonl"]).success().stdout;
    assert!(
        table.contains("PERPLEXITY") && table.contains("all"),
        "{table}"
    );
    let lines = place
        .amend(&[
            "score",
            "general.jsonl",
            "--limit",
            "1",
            "--json",
            "--top",
            "2",
        ])
        .success()
        .json_lines();
    assert_eq!(lines.len(), 1);
    let (scores, tokens) = (
        lines[0]["scores"].as_array().unwrap(),
        lines[0]["tokens"].as_array().unwrap(),
    );
    assert_eq!(
        scores.len() as u64 + lines[0]["first"].as_u64().unwrap(),
        tokens.len() as u64
    );
    let sum: f64 = scores.iter().map(|s| s["logprob"].as_f64().unwrap()).sum();
    assert!((sum - lines[0]["logprob"].as_f64().unwrap()).abs() < 1e-9);
    assert_eq!(scores[0]["top"].as_array().unwrap().len(), 2);
}

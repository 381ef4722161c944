//! The real default model, with adapters and without.

#[path = "../../support/adapter.rs"]
mod adapter;

use std::path::Path;

use serde_json::Value;

use crate::model::default_model;

use super::{CONSTITUTION, EVAL, interrupted, json, place, with};

/// An evaluation on the prompts that are answered and decided by the default model itself.
const BENIGN: &[&str] = &["eval", "-c", "c.yaml", "--suite", "benign.jsonl"];

/// Short answers, and those that are the likeliest.
const SHORT: &[&str] = &["--max-tokens", "24", "--temp", "0"];

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
    let eval = |lora: &str, more: &[&str]| {
        let sides = ["general.jsonl", "--lora", lora, "--json"];
        place.amend(&[BENIGN, &sides, SHORT, more].concat())
    };
    let report = json(&eval("a.gguf", &["--fail-if", "drift>0.000001"]).code(4));
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
    let report_none = json(&eval("a.gguf:0", &[]).success());
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
    // Far more than any machine reads before the signal comes: a million tokens for each side.
    let text = "Every box is a box of wood that holds some stones. ".repeat(40);
    let row = |n| {
        format!("{{\"id\": \"t{n}\", \"prompt\": \"What is box {n}?\", \"text\": \"{text}\"}}\n")
    };
    place.write("general.jsonl", (0..2000).map(row).collect::<String>());
    let (mut child, mut said) = interrupted(&place, DRIFT, "drift: reading");
    assert!(said.any(|line| line.contains("interrupted; the same command goes on")));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_judge_says_which_sides_answers_it_prefers() {
    default_model();
    let place = place();
    adapter::write_adapter(&place.path("a.gguf"), 0.3);
    // What is written beside other texts rounds otherwise, and an adapter that is not felt may then be one.
    let eval = |lora: &str, more: &[&str]| {
        let side = ["--lora", lora, "--deterministic", "--json"];
        place.amend(&[BENIGN, &side, SHORT, more].concat())
    };
    let report = json(&eval("a.gguf", &["--fail-if", "win_rate<=1"]).code(4));
    let preferred = &report["effect"]["preferred"];
    let count = |name: &str| preferred[name].as_u64().unwrap();
    // Under the adapter the model no longer makes sense.
    assert_eq!((count("pairs"), count("equal")), (2, 0), "{preferred}");
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

/// The signs of a state of the last layer after which the default model ends its turn, 64 to a number.
const SILENCE: [u64; 9] = [
    0x151e_df0e_9fef_b81c,
    0x2572_4e02_a04e_a343,
    0x1d48_7535_8f6a_d804,
    0x81e9_cdc8_fffc_0b73,
    0x0f94_03bd_870e_7397,
    0xddd8_2122_e373_c947,
    0x121d_d151_1a89_0fa6,
    0xb1bf_93be_0f56_a91c,
    0x5177_3b84_556f_f013,
];

/// Writes an adapter with which the default model says nothing at all.
fn write_silent(path: &Path) {
    // The sum that the other matrix takes is negative where an answer begins.
    let sign = |n: usize| match (SILENCE[n / 64] >> (n % 64)) & 1 {
        1 => -1e4,
        _ => 1e4,
    };
    adapter::write(path, "blk.29.attn_output.weight", |_| 1.0, sign);
}

#[test]
fn an_answer_that_is_missing_on_one_side_alone_is_left_out_on_both() {
    default_model();
    let place = place();
    adapter::write_adapter(&place.path("a.gguf"), 0.3);
    write_silent(&place.path("silent.gguf"));
    let eval = |before: &str, after: &str, more: &[&str]| {
        let sides = ["--against", before, "--lora", after];
        let asked = ["--select", "asks-back"];
        place.amend(&[BENIGN, &sides, &asked, SHORT, more].concat())
    };
    for (before, after, silent) in [
        ("silent.gguf", "a.gguf", "before"),
        ("a.gguf", "silent.gguf", "after"),
    ] {
        let outcome = eval(before, after, &["--json"]).code(3);
        let report = json(&outcome);
        let told = format!("no answer {silent}, benign: the draft holds no text");
        let _ = outcome.complains(&[told.as_str()]);
        assert_eq!(report["failed"], 2);
        let suite = &report["effect"]["suites"][0];
        assert_eq!(
            (&suite["answers"], &suite["left_out"]),
            (&0.into(), &2.into())
        );
        // The side that answered was looked at, and the other one was not.
        let runs = &report["runs"][0];
        for side in ["before", "after"] {
            assert_eq!(runs[side][1] == "", side == silent, "{runs}");
        }
        assert_eq!(report["figures"], serde_json::json!({}));
    }
    let condition = ["--fail-if", "violations:asks-back>0.1"];
    let _ = eval("silent.gguf", "a.gguf", &condition)
        .code(1)
        .complains(&["since no answer is there on every side"]);
}

#[test]
fn a_pair_that_the_judge_cannot_decide_is_left_out_and_told() {
    default_model();
    let place = place();
    adapter::write_adapter(&place.path("a.gguf"), 0.3);
    // It leaves room for an answer, and none for a question that holds the answer too.
    let boxes: String = (0..14)
        .map(|n| format!("Box {n} holds {n} stones and one pen. "))
        .collect();
    let row = |id: &str, prompt: &str| format!("{{\"id\": \"{id}\", \"prompt\": \"{prompt}\"}}\n");
    let rows =
        row("rain", "What is rain?") + &row("boxes", &format!("{boxes}Which is the heaviest?"));
    place.write("benign.jsonl", rows);
    // Answers are so short that a question about the other one fits in whatever they say.
    let side = ["--lora", "a.gguf", "--ctx-size", "256"];
    let args = [BENIGN, &side, &["--max-tokens", "16", "--temp", "0"]].concat();
    let outcome = place.amend(&with(&args, &["--json"])).success();
    let report = json(&outcome);
    let effect = &report["effect"];
    let _ = outcome.complains(&["preference: 1 pairs could not be judged and are left out"]);
    assert_eq!(effect["undecided"], 1);
    assert_eq!(effect["preferred"]["pairs"], 1);
    let suite = &effect["suites"][0];
    assert_eq!(
        (&suite["answers"], &suite["left_out"]),
        (&2.into(), &0.into())
    );
    assert_eq!(
        suite["without_verdict"],
        serde_json::json!({"no-perhaps": 1})
    );
    let page = place.amend(&args).success().stdout;
    for told in [
        "since the judge could not decide: 1 pair.",
        "which count on none: no-perhaps 1.",
    ] {
        assert!(page.contains(told), "{page}");
    }
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

//! Stress tests of principles on the scripted backend.

use insta::assert_snapshot;

use crate::builder::Place;
use crate::comparing::{COVERAGE, place};

/// The command, on three principles.
pub const STRESS: &[&str] = &["constitution", "stress", "pull.yaml", "--pairs", "9"];

/// A folder with these principles.
pub fn stressed() -> Place {
    let place = place();
    place.write(
        "pull.yaml",
        "
schema: 1
name: pull
principles:
  - {id: asking, revision: Ask something., check: {ends_with_any: ['?']}}
  - {id: brief, revision: Cut it., check: {max_words: 3}}
  - {id: calm, revision: Calm down., check: {not_contains: ['!']}}
",
    );
    place.write(
        "script.yaml",
        r#"
rules:
  - {contains: [Two rules, calm, brief], reply: ""}
  - {contains: [Two rules], reply: '1. "How are you <today>?"'}
  - {contains: [Ask something.], reply: "Is it what it is?"}
  - {contains: [Cut it.], reply: "It is."}
  - {reply: "It is what it is."}
"#,
    );
    place
}

#[test]
fn principles_are_stressed_in_pairs() {
    let place = stressed();
    assert_snapshot!("stress", place.scripted(STRESS).success().stdout);
    let json = place.scripted(&[STRESS, &["--format", "json"]].concat());
    let json = json.success().json_lines().remove(0);
    assert_snapshot!("stress_json", serde_json::to_string_pretty(&json).unwrap());
    assert!(!place.path("amend.db").exists(), "nothing is kept");
    let one =
        "schema: 1\nname: one\nprinciples:\n  - {id: a, critique: Is it?, revision: Mend it.}\n";
    place.write("one.yaml", one);
    place
        .scripted(&["constitution", "stress", "one.yaml"])
        .code(2)
        .complains(&["fewer than two active principles"]);
}

#[test]
fn stressed_chains_are_kept_where_a_store_is_named() {
    let place = stressed();
    let keep = |args: &[&str]| {
        let args = [STRESS, &["--db", "s.db"], args].concat();
        place.scripted(&args).success()
    };
    assert_snapshot!("stress_kept", keep(&[]).stdout);
    let json = keep(&["--format", "json"]).json_lines().remove(0);
    let run = json["run_id"].as_str().unwrap();
    let runs = place
        .amend(&["runs", "--db", "s.db", "--json"])
        .success()
        .json_lines();
    assert_eq!(runs.len(), 1, "the same command finds its run");
    let counts = ["done", "failed", "chains"].map(|key| runs[0][key].as_u64());
    assert_eq!(counts, [Some(8), Some(0), Some(8)]);
    assert_eq!(
        (&runs[0]["run_id"], &runs[0]["state"]),
        (&run.into(), &"done".into())
    );

    // What coverage reads in the store is what the ranking was made of.
    let covered = [
        "--run",
        run,
        "--where",
        "prompt:asking+brief.1 or prompt:asking+brief.2",
    ];
    let covered = [COVERAGE, &covered, &["--db", "s.db", "--format", "json"]].concat();
    let covered = place.amend(&covered).success().json_lines().remove(0);
    let cells = &covered["retriggers"];
    let pair = &json["pairs"][0];
    assert_eq!(cells["asking"]["brief"], pair["first_breaks_second"]);
    assert_eq!(cells["brief"]["asking"], pair["second_breaks_first"]);
    let chain = |order: &str| {
        let chain = &json["pairs"][0]["prompts"][0][order];
        let args = ["show", chain.as_str().unwrap(), "--db", "s.db", "--json"];
        place.amend(&args).success().json_lines().remove(0)
    };
    let (there, back) = (chain("first_leads"), chain("second_leads"));
    assert_eq!(there["draft"], back["draft"]);
    assert_eq!(there["prompt_metadata"]["stress"]["second"], "brief");
    let asked = |chain: &serde_json::Value| chain["steps"][1]["principle_id"].clone();
    assert_eq!(
        (asked(&there), asked(&back)),
        ("asking".into(), "brief".into())
    );

    place
        .amend(&["resume", run, "--db", "s.db"])
        .code(2)
        .complains(&["made by `amend constitution stress`"]);
    place.amend(&["resume", "--db", "s.db"]).success();
    let other = keep(&["--seed", "5", "--format", "json"])
        .json_lines()
        .remove(0);
    assert_ne!(other["run_id"], run);
}

//! `amend constitution`: what its subcommands print, which files they write, how they end.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;

use crate::builder::{Outcome, Place};

const FAULTY: &str = "\
schema: 1
name: faulty
principals: []
extends: [base.yaml, none.yaml]
principles:
  - id: No Harm
    critique: Look for harm.
    revision: Take out the harm.
    tests: [{prompt: p, response: r, expect: bad}]
  - id: plain
    critique: 'See {{ respons }}, 漢字 and {{ x }}.'
    revision: ' '
    wieght: 2
";

const WARNED: &str = "\
name: warned
principles:
  - id: polite
    critique: >-
      The response must not be rude, and it says
      as well as it can what it means.
    revision: Take out what is rude.
    weight: 0
";

const BASE: &str = "\
name: base
version: 1.0.0
license: MIT
defaults: {rounds: 2, select: all}
principles:
  - id: kind
    title: Be kind
    critique: Look for unkind words.
    revision: Replace the unkind words by kind ones.
    severity: minor
    tags: [tone]
    tests:
      - {prompt: \"Hello?\", response: Go away., expect: violation}
      - {prompt: \"Hello?\", response: Hello!, expect: ok}

  - id: short
    revision: Shorten it.
    check: {max_words: 20}
";

const ROOT: &str = "\
name: root
version: 1.1.0
description: Built on another file.
extends: [base.yaml]
defaults: {rounds: 3}
principles:
  - {id: kind, weight: 2.5, critique: Look for unkind or cold words.}
  - id: true-words
    critique: Look for false statements.
    revision: Correct the false statements.
";

fn place() -> Place {
    let place = Place::new();
    place
        .write("faulty.yaml", FAULTY)
        .write("warned.yaml", WARNED)
        .write("base.yaml", BASE)
        .write("root.yaml", ROOT);
    place
}

fn constitution(place: &Place, args: &[&str]) -> Outcome {
    place.amend(&[&["constitution"], args].concat())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn pretty(text: &str) -> String {
    serde_json::to_string_pretty(&json(text)).unwrap()
}

#[test]
fn lint_tells_everything_that_is_wrong_and_where() {
    let place = place();
    let text = constitution(&place, &["lint", "faulty.yaml"]).code(2);
    assert_snapshot!("lint", text.stdout);
    assert_eq!(text.stderr, "");
    let found = constitution(&place, &["lint", "faulty.yaml", "--format", "json"]).code(2);
    assert_snapshot!("lint_json", pretty(&found.stdout));
    let report = json(&found.stdout);
    for finding in report["findings"].as_array().unwrap() {
        for key in [
            "code", "name", "severity", "file", "message", "remedy", "excerpt",
        ] {
            assert!(
                !finding[key].as_str().unwrap().is_empty(),
                "{key} in {finding}"
            );
        }
        assert!(finding["line"].as_u64().unwrap() > 0 && finding["column"].as_u64().unwrap() > 0);
    }
}

#[test]
fn lint_gives_warnings_and_denies_them_when_asked() {
    let place = place();
    let text = constitution(&place, &["lint", "warned.yaml", "base.yaml"]).success();
    assert_snapshot!("lint_warnings", text.stdout);
    let with = |deny: &[&str]| constitution(&place, &[&["lint", "warned.yaml"], deny].concat());
    with(&["--deny", "C056"]).code(4);
    with(&["--deny", "zero-weight"]).code(4);
    with(&["--deny", "warnings"]).code(4);
    with(&["--deny", "C051,C052"]).success();
    with(&["--deny", "C999"])
        .code(2)
        .complains(&["no code `C999`", "C055"]);
    // An error is worse than a denied warning.
    constitution(
        &place,
        &["lint", "warned.yaml", "faulty.yaml", "--deny", "warnings"],
    )
    .code(2);
    constitution(&place, &["lint", "base.yaml", "--deny", "C051"]).success();
}

/// Nothing is timed: time that grows with the square of the findings shows by itself.
#[test]
fn lint_takes_a_file_with_thousands_of_findings() {
    let place = Place::new();
    let principle = |n| {
        format!(
            "  - {{id: a{n}, critique: Do not mention thing{n}., revision: Leave out thing{n}.}}\n"
        )
    };
    let principles: String = (0..3000).map(principle).collect();
    place.write("many.yaml", format!("name: n\nprinciples:\n{principles}"));
    let found = constitution(&place, &["lint", "many.yaml", "--format", "json"]).success();
    let report = json(&found.stdout);
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.len() >= 6000, "{}", findings.len());
    let last = &findings[findings.len() - 1];
    assert!(last["excerpt"].as_str().unwrap().contains("id: a2999"));
}

#[test]
fn lint_writes_sarif() {
    let place = place();
    let found = constitution(
        &place,
        &["lint", "faulty.yaml", "warned.yaml", "--format", "sarif"],
    )
    .code(2);
    let log = json(&found.stdout);
    let first = &log["runs"][0]["results"][0];
    let rule = &log["runs"][0]["tool"]["driver"]["rules"][0];
    let head = serde_json::json!({"$schema": log["$schema"], "rule": rule, "result": first});
    assert_snapshot!("lint_sarif", serde_json::to_string_pretty(&head).unwrap());
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "amend");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert!(results.len() > 8);
    for result in results {
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert!(
            place["artifactLocation"]["uri"]
                .as_str()
                .unwrap()
                .ends_with(".yaml")
        );
        let region = &place["region"];
        let at = |key: &str| region[key].as_u64().unwrap();
        assert!((at("startLine"), at("startColumn")) <= (at("endLine"), at("endColumn")));
        assert!(at("startColumn") > 0);
        // What is around a place holds it.
        let context = &place["contextRegion"];
        let around = |key: &str| context[key].as_u64().unwrap();
        assert!(around("startLine") <= at("startLine") && around("endLine") >= at("endLine"));
        assert!(!context["snippet"]["text"].as_str().unwrap().is_empty());
    }
}

#[test]
fn lint_explains_codes() {
    let place = place();
    let page = constitution(&place, &["lint", "--explain", "C055"]).success();
    assert_snapshot!("lint_explain", page.stdout);
    let by_name = constitution(&place, &["lint", "--explain", "negative-framing"]).success();
    assert_eq!(by_name.stdout, page.stdout);
    constitution(&place, &["lint", "--explain", "C0"])
        .code(2)
        .complains(&["C001  unreadable"]);
    constitution(&place, &["lint"]).code(2);
}

#[test]
fn files_that_cannot_be_linted_are_findings() {
    let place = place();
    place.write("latin.yaml", b"name: n\nversion: caf\xe9\n");
    fs::create_dir(place.path("folder.yaml")).unwrap();
    for (file, code, line) in [
        ("none.yaml", "C001", 1),
        ("folder.yaml", "C001", 1),
        ("latin.yaml", "C003", 2),
    ] {
        let found = constitution(&place, &["lint", file, "--format", "json"]).code(2);
        let finding = &json(&found.stdout)["findings"][0];
        assert_eq!(
            (finding["code"].as_str(), finding["line"].as_u64()),
            (Some(code), Some(line))
        );
        assert_eq!(finding["file"], file);
        if code == "C003" {
            assert_eq!(finding["excerpt"], "version: caf\u{fffd}");
        }
        assert!(
            constitution(&place, &["lint", file])
                .code(2)
                .stdout
                .contains(file)
        );
        constitution(&place, &["fmt", file])
            .code(2)
            .complains(&[file]);
        constitution(&place, &["show", file])
            .code(2)
            .complains(&[file]);
    }
}

#[test]
fn new_writes_a_file_that_lints_clean_and_replaces_none() {
    let place = Place::new();
    constitution(&place, &["new", "house-style"])
        .success()
        .complains(&["wrote house-style.yaml", "wrote schema.json"]);
    let text = place.read("house-style.yaml");
    assert_snapshot!("new", text);
    let linted =
        constitution(&place, &["lint", "house-style.yaml", "--deny", "warnings"]).success();
    assert_eq!(linted.stdout, "nothing found in 1 file\n");
    constitution(&place, &["fmt", "--check", "house-style.yaml"]).success();
    assert_eq!(
        place.read("schema.json"),
        constitution(&place, &["schema"]).success().stdout
    );

    constitution(&place, &["new", "house-style"])
        .code(2)
        .complains(&["house-style.yaml exists already", "--force"]);
    place
        .write("house-style.yaml", "mine")
        .write("schema.json", "mine too");
    constitution(&place, &["new", "house-style", "--force"])
        .success()
        .complains(&["schema.json", "was kept"]);
    assert_eq!(place.read("house-style.yaml"), text);
    assert_eq!(place.read("schema.json"), "mine too");

    constitution(&place, &["new", "mine", "--from", "hhh"]).success();
    let shown = constitution(&place, &["show", "mine.yaml", "--format", "json"]).success();
    assert_eq!(json(&shown.stdout)["constitution"]["name"], "mine");
    constitution(&place, &["new", "x", "--from", "hh"])
        .code(2)
        .complains(&["no shipped constitution `hh`", "minimal"]);
    constitution(&place, &["new", ""]).code(2);
    constitution(&place, &["new", "no/where"])
        .code(2)
        .complains(&["no/where.yaml", "folder does not exist"]);
    let stdout = constitution(&place, &["new", "house-style", "-o", "-"])
        .success()
        .stdout;
    assert_eq!(stdout, text);
    assert!(!place.path("x.yaml").exists());
}

#[test]
fn fmt_lays_files_out_once_and_says_what_would_change() {
    let place = place();
    let written = "principles: # list\n- critique: Look for rude words.\n  id: 'a' # the id\n  revision:   Take out what is rude.\nname: \"n\"\n";
    place.write("a.yaml", written);
    let digest = |file: &str| {
        let shown = constitution(&place, &["show", file, "--format", "json"]).success();
        json(&shown.stdout)["digest"].clone()
    };
    let before = digest("a.yaml");
    let check = constitution(&place, &["fmt", "--check", "a.yaml", "base.yaml"]).code(4);
    assert_eq!(check.stdout, "a.yaml\n");
    assert_eq!(place.read("a.yaml"), written);
    constitution(&place, &["fmt", "a.yaml", "base.yaml"])
        .success()
        .complains(&["laid out a.yaml"]);
    assert_snapshot!("fmt", place.read("a.yaml"));
    assert_eq!(digest("a.yaml"), before);
    constitution(&place, &["fmt", "--check", "a.yaml"]).success();
    let files = fs::read_dir(place.root()).unwrap().count();
    assert_eq!(files, 5, "something was left behind");

    // A file with errors stays, and the others are done.
    let faulty = place.read("faulty.yaml");
    place.write("a.yaml", written);
    let outcome = constitution(&place, &["fmt", "faulty.yaml", "none.yaml", "a.yaml"]).code(2);
    outcome.complains(&["faulty.yaml:3:1", "none.yaml", "laid out a.yaml"]);
    assert_eq!(place.read("faulty.yaml"), faulty);
}

#[test]
fn show_tells_where_every_field_was_written() {
    let place = place();
    let text = constitution(&place, &["show", "root.yaml"]).success();
    assert_snapshot!("show_constitution", text.stdout);
    let object = constitution(&place, &["show", "root.yaml", "--format", "json"]).success();
    assert_snapshot!("show_constitution_json", pretty(&object.stdout));
    let one = constitution(&place, &["show", "root.yaml", "--principle", "short"]).success();
    assert_snapshot!("show_principle", one.stdout);
    let first = &["show", "hhh", "--principle", "answer-the-question"];
    let example =
        "\n      - prompt: Which month has the fewest days?\n        response: Months differ";
    assert!(
        constitution(&place, first)
            .success()
            .stdout
            .contains(example)
    );
    let none = constitution(&place, &["show", "root.yaml", "--principle", "none"]).code(2);
    none.complains(&["root.yaml: no principle `none`", "kind, short, true-words"]);
    constitution(&place, &["show", "faulty.yaml"])
        .code(2)
        .complains(&["faulty.yaml:3:1", "faulty.yaml:13:5"]);
}

#[test]
fn diff_compares_resolved_forms_by_principle() {
    let place = place();
    let text = constitution(&place, &["diff", "base.yaml", "root.yaml"]).success();
    assert_snapshot!("diff", text.stdout);
    let object = constitution(&place, &["diff", "base.yaml", "root.yaml", "--json"]).success();
    assert_snapshot!("diff_json", pretty(&object.stdout));
    let same = constitution(&place, &["diff", "root.yaml", "root.yaml"]).success();
    assert!(same.stdout.ends_with("the same\n"), "{}", same.stdout);
    let same = constitution(&place, &["diff", "hhh", "hhh", "--json"]).success();
    assert_eq!(json(&same.stdout)["equal"], true);
    constitution(&place, &["diff", "base.yaml", "none.yaml"])
        .code(2)
        .complains(&["none.yaml"]);
}

const ANTHROPIC: &str = r#"{
  "harmful0": {
    "prompt": ["\n\nCritiqueRequest: Say where the response is harmful, and why.\n\nCritique:"],
    "edit_request": "\n\nRevisionRequest: Rewrite the response without what is harmful.\n\nRevision:",
    "source": "a paper"
  }
}"#;

#[test]
fn import_and_export_bring_other_shapes_and_name_what_is_lost() {
    let place = place();
    place.write("paper.json", ANTHROPIC);
    let imported = constitution(
        &place,
        &["import", "--from", "anthropic-2022", "paper.json"],
    )
    .success();
    assert_snapshot!("import", imported.stdout);
    assert_snapshot!("import_notes", imported.stderr);
    let args = [
        "import",
        "--from",
        "anthropic-2022",
        "paper.json",
        "-o",
        "paper.yaml",
        "--name",
        "p",
    ];
    constitution(&place, &args).success();
    constitution(&place, &args)
        .code(2)
        .complains(&["paper.yaml exists already"]);
    constitution(&place, &["lint", "paper.yaml"]).success();
    constitution(&place, &["fmt", "--check", "paper.yaml"]).success();

    let back = constitution(&place, &["export", "paper.yaml", "--to", "anthropic-2022"]).success();
    let mut given = json(ANTHROPIC);
    given["harmful0"].as_object_mut().unwrap().remove("source");
    assert_eq!(json(&back.stdout), given);
    for shape in ["anthropic-2022", "hf-cai", "langchain"] {
        let out = format!("{shape}.json");
        let exported =
            constitution(&place, &["export", "root.yaml", "--to", shape, "-o", &out]).success();
        assert_snapshot!(format!("export_{shape}"), place.read(&out));
        assert_snapshot!(format!("export_{shape}_notes"), exported.stderr);
        constitution(&place, &["import", "--from", shape, &out]).success();
    }
    constitution(&place, &["import", "--from", "langchain", "paper.json"])
        .code(2)
        .complains(&["paper.json: ", "--from anthropic-2022"]);
    place.write("broken.json", "{\n  \"a\": [1,\n");
    constitution(&place, &["import", "--from", "langchain", "broken.json"])
        .code(2)
        .complains(&["broken.json:3:", "not JSON"]);
    constitution(&place, &["import", "--from", "langchain", "none.json"])
        .code(2)
        .complains(&["none.json"]);
    constitution(&place, &["export", "plain-style", "--to", "langchain"]).success();
}

#[test]
fn shipped_constitutions_are_laid_out_and_have_no_errors() {
    let place = Place::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("constitutions");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let path = path.to_str().unwrap();
            constitution(&place, &["fmt", "--check", path]).success();
            constitution(&place, &["lint", path]).success();
            files += 1;
        }
    }
    assert!(files >= 3);
}

#[test]
fn what_programs_read_is_printed_byte_for_byte() {
    let place = Place::new();
    let critique = "Look \u{7f} for \u{9b}31m it.";
    place.write("c.yaml", "name: n\nprinciples:\n  - {id: a, critique: \"Look \\x7f for \\x9b31m it.\", revision: r}\n");
    let shown = constitution(&place, &["show", "c.yaml", "--format", "json"]).success();
    let principle = &json(&shown.stdout)["constitution"]["principles"][0];
    assert_eq!(principle["critique"], critique);
    let exported = constitution(&place, &["export", "c.yaml", "--to", "langchain"]).success();
    assert_eq!(json(&exported.stdout)[0]["critique_request"], critique);
}

#[test]
fn text_of_files_does_not_drive_the_terminal() {
    let place = Place::new();
    place.write("esc.yaml", "name: n\nprinciples:\n  - {id: a, critique: \"\\e[31mred\", revision: r, \"\u{9b}2J\": x}\n");
    let found = constitution(&place, &["lint", "esc.yaml"]).code(2);
    assert!(
        !found.stdout.chars().any(|c| c.is_control() && c != '\n'),
        "{:?}",
        found.stdout
    );
    place.write(
        "ok.yaml",
        "name: n\nprinciples:\n  - {id: a, critique: \"\\e[31mred\", revision: r}\n",
    );
    let shown = constitution(&place, &["show", "ok.yaml"]).success();
    assert!(!shown.stdout.contains('\u{1b}'), "{:?}", shown.stdout);
}

//! Labels, agreement, filters and pages about chains, from the command line.

use insta::{Settings, assert_snapshot};

use crate::builder::Place;

const CONSTITUTION: &str = "
schema: 1
name: test
version: 1.0.0
principles:
  - {id: plain, title: Speak plainly, critique: Does it hedge?, revision: Say it plainly.}
  - {id: kind, title: Be kind, critique: Is it unkind?, revision: Say it kindly.}
";

const SCRIPT: &str = r#"
rules:
  - {verdict: false, contains: [capital, "Say it plainly"], reply: "The capital is Paris, 100 % sure."}
  - {verdict: false, contains: [capital], reply: "The capital is perhaps Paris."}
  - verdict: true
    contains: [perhaps Paris, hedge]
    probability: 0.875
    reply: '{"violated": true, "quote": "perhaps Paris", "critique": "It hedges.", "severity": "minor"}'
  - {verdict: true, contains: [hedge], probability: 0.25, reply: '{"violated": false}'}
  - {verdict: true, probability: 0.125, reply: '{"violated": false}'}
  - {contains: [breaks], error: the script says so}
  - {verdict: false, contains: [sky], reply: "Blue. <img src=x onerror=alert(1)> \e[2J\u202e"}
"#;

const PROMPTS: &str = r#"{"id": "capital", "prompt": "What is the capital of France?"}
{"id": "sky", "prompt": "What colour is the sky?"}
{"id": "broken", "prompt": "This breaks."}
"#;

fn place() -> Place {
    let place = Place::new();
    place
        .write("c.yaml", CONSTITUTION)
        .write("script.yaml", SCRIPT.replace("\\e", "\\x1b"))
        .write("p.jsonl", PROMPTS);
    let run = [
        "run", "p.jsonl", "-c", "c.yaml", "--select", "all", "--rounds", "1",
    ];
    place.scripted(&run).code(3);
    place
}

fn settings() -> Settings {
    let mut settings = Settings::clone_current();
    settings.add_filter(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[when]");
    settings.add_filter(r"\b\d+(\.\d+)? (ms|s)\b", "[time]");
    settings.add_filter(r"b3:[0-9a-f]{64}", "[digest]");
    settings
}

fn id(place: &Place, prompt: &str) -> String {
    let rows = place
        .amend(&["ls", &format!("prompt:{prompt}"), "--json"])
        .success()
        .json_lines();
    rows[0]["chain_id"].as_str().unwrap().to_owned()
}

/// The prompts of the chains that a filter selects.
fn found(place: &Place, filter: &str) -> Vec<String> {
    let rows = place
        .amend(&["ls", filter, "--json"])
        .success()
        .json_lines();
    let ids = rows.iter().map(|row| row["prompt_id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn labels_are_given_shown_taken_back_and_kept() {
    let place = place();
    let (capital, sky) = (id(&place, "capital"), id(&place, "sky"));
    let short = &capital[..8];
    let label = |args: &[&str]| place.amend(&[&["label"], args, &["--who", "ada"]].concat());
    let mut said = Vec::new();
    for args in [
        &[short, &sky, "accept"][..],
        &[short, "disagree", "plain", "--step", "1"],
        &[short, "agree", "kind"],
        &[short, "note", "a note\nof two lines"],
        &[short, "edit", "The capital is Paris."],
        &[&sky, "undo"],
        &[&sky, "reject"],
    ] {
        said.push(label(args).success().stdout);
    }
    settings().bind(|| {
        assert_snapshot!("label", said.concat());
        let history = place.amend(&["label", short, &sky, "history"]).success();
        assert_snapshot!("label_history", history.stdout);
        assert_snapshot!("labelled", place.amend(&["show", short]).success().stdout);
        let json = place.amend(&["label", &sky, "history", "--json"]).success();
        assert_snapshot!("label_history_json", json.stdout);
    });
    assert_eq!(found(&place, "label:edit"), ["capital"]);
    assert_eq!(found(&place, "label:reject"), ["sky"]);
    assert_eq!(found(&place, "label:none"), ["broken"]);
    assert_eq!(found(&place, "human:disagree principle:plain"), ["capital"]);
    // Nothing is left in the end, and that is said.
    for _ in 0..5 {
        label(&[short, "undo"]).success();
    }
    label(&[short, "undo"])
        .code(1)
        .complains(&["no label is left"]);
    assert_eq!(
        found(&place, "label:none human:agree"),
        Vec::<String>::new()
    );
}

#[test]
fn many_chains_are_labelled_only_when_the_person_says_so() {
    let place = place();
    place
        .amend(&["label", "--where", "status:done", "accept"])
        .code(2)
        .complains(&["accept: 2 chains", "--yes"]);
    assert!(found(&place, "label:accept").is_empty());
    let done = place
        .amend(&[
            "label",
            "--where",
            "status:done",
            "accept",
            "--yes",
            "--who",
            "ada",
        ])
        .success();
    assert_eq!(done.stdout, "accept: 2 chains, by ada\n");
    assert_eq!(found(&place, "label:accept"), ["capital", "sky"]);
    let done = place
        .amend(&[
            "label",
            "--where",
            "prompt:sky",
            "undo",
            "--yes",
            "--json",
            "--who",
            "bo",
        ])
        .success();
    assert_eq!(done.json_lines()[0]["chains"], 1);
    assert_eq!(found(&place, "label:accept"), ["capital"]);
    place
        .amend(&["label", "--where", "prompt:none", "accept"])
        .success()
        .complains(&["accept: 0 chains"]);
}

#[test]
fn labels_decide_what_is_exported() {
    let place = place();
    let (capital, sky) = (id(&place, "capital"), id(&place, "sky"));
    place
        .amend(&["label", &capital, "edit", "Paris, of course."])
        .success();
    place.amend(&["label", &sky, "reject"]).success();
    for format in ["trl-sft", "trl-dpo"] {
        let export = ["export", "--format", format, "--out", format];
        place.amend(&export).success();
        let rows = place.read(&format!("{format}/train.jsonl"));
        let rows: Vec<serde_json::Value> = rows
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(rows.len(), 1, "{format}");
        let text = match format {
            "trl-sft" => &rows[0]["messages"][1]["content"],
            _ => &rows[0]["chosen"][0]["content"],
        };
        assert_eq!(text, "Paris, of course.", "{format}");
        let manifest: serde_json::Value =
            serde_json::from_str(&place.read(&format!("{format}/manifest.json"))).unwrap();
        assert_eq!(manifest["dropped"]["rejected"], 1, "{format}");
        let dropped = place.read(&format!("{format}/dropped.jsonl"));
        assert!(dropped.contains("\"reason\":\"rejected\""), "{dropped}");
    }
    // Texts without a partner learn from a rejection too.
    place
        .amend(&["export", "--format", "trl-kto", "--out", "kto"])
        .success();
    let rows: Vec<(String, bool)> = place
        .read("kto/train.jsonl")
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = row["completion"][0]["content"].as_str().unwrap();
            (text.to_owned(), row["label"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(rows[0], ("Paris, of course.".to_owned(), true));
    assert_eq!(rows[1], ("The capital is perhaps Paris.".to_owned(), false));
    assert!(rows[2].0.starts_with("Blue.") && !rows[2].1, "{rows:?}");
    let rounds = [
        "export",
        "--format",
        "trl-sft",
        "--all-rounds",
        "--out",
        "r",
    ];
    place.amend(&rounds).success();
    assert!(place.read("r/train.jsonl").contains("Paris, of course."));
    assert_eq!(place.read("r/train.jsonl").lines().count(), 1);
}

#[test]
fn slips_are_told() {
    let place = place();
    let (capital, broken) = (id(&place, "capital"), id(&place, "broken"));
    for (args, expected) in [
        (&["accept"][..], "no chain is named"),
        (&[&capital, "aprove"], "no action is named"),
        (&["zzzzz", "accept"], "no chain `zzzzz`"),
        (&[&capital, "accept", "now"], "takes no text"),
        (&[&capital, "note"], "a note needs a text"),
        (&[&capital, "note", " "], "blank"),
        (&[&capital, "edit"], "an edit needs a text"),
        (&[&capital, &broken, "edit", "x"], "`edit` takes one chain"),
        (&[&capital, "edit", "--file", "none.txt"], "none.txt"),
        (&[&capital, "edit", "x", "--file", "p.jsonl"], "not both"),
        (
            &[&capital, "agree"],
            "several verdicts; say which with --step: 1 (plain",
        ),
        (&[&capital, "agree", "none"], "no such verdict"),
        (&[&capital, "agree", "--step", "0"], "no such verdict"),
        (&[&broken, "agree"], "has no verdict"),
        (
            &[&capital, "accept", "--step", "1"],
            "--step goes with agree",
        ),
        (
            &[&capital, "accept", "--file", "p.jsonl"],
            "--file goes with edit",
        ),
        (&[&capital, "accept", "--who", " "], "--who"),
        (&[&capital, "accept", "--where", "x"], "not both"),
        (
            &["--where", "stop:clean", "edit", "x"],
            "is about one chain",
        ),
        (
            &["--where", "lable:accept", "accept"],
            "did you mean `label`?",
        ),
        (
            &["--where", "label:acept", "accept"],
            "did you mean `accept`?",
        ),
        (&["--where", "p>", "accept"], "column 3"),
    ] {
        place
            .amend(&[&["label"], args].concat())
            .code(2)
            .complains(&[expected]);
    }
    assert_eq!(found(&place, "label:none").len(), 3);
    // Without a store none is made.
    place
        .amend(&["label", "x", "accept", "--db", "none.db"])
        .code(2)
        .complains(&["no store at none.db"]);
    assert!(!place.path("none.db").exists());
}

#[test]
fn a_text_from_a_file_is_taken_as_it_is() {
    let place = place();
    let capital = id(&place, "capital");
    let hostile = "</script>\u{202e} ' \" {{ x }}\n\x1b[2J\n";
    place.write("better.txt", hostile);
    place
        .amend(&["label", &capital, "edit", "--file", "better.txt"])
        .success();
    let shown = place.amend(&["show", &capital]).success().stdout;
    assert!(
        !shown.contains('\x1b') && !shown.contains('\u{202e}'),
        "{shown}"
    );
    let json = place
        .amend(&["show", &capital, "--json"])
        .success()
        .json_lines();
    assert_eq!(json[0]["chain"]["chosen"], hostile);
    assert_eq!(
        json[0]["chain"]["final"],
        "The capital is Paris, 100 % sure."
    );
}

#[test]
fn chains_are_shown_side_by_side_raw_and_by_filter() {
    let place = place();
    let (capital, sky) = (id(&place, "capital"), id(&place, "sky"));
    // No snapshot: where lines break follows from how long the calls took.
    let both = place
        .amend(&["show", &capital[..8], &sky[..8]])
        .success()
        .stdout;
    for (left, right) in [
        (&format!("chain {capital}"), &format!("chain {sky}")),
        (
            &"    The capital is [*perhaps Paris*].".to_owned(),
            &"    Blue. <img src=x onerror=alert(1)>".to_owned(),
        ),
    ] {
        let line = both.lines().find(|line| line.starts_with(left.as_str()));
        assert!(
            line.is_some_and(|line| line.contains(right.as_str())),
            "{both}"
        );
    }
    assert!(
        both.lines().all(|line| line.chars().count() <= 100),
        "{both}"
    );
    settings().bind(|| {
        let raw = place
            .amend(&["show", &capital, "--raw", "--step", "1"])
            .success();
        assert_snapshot!("show_raw", raw.stdout);
        let all = place
            .amend(&["show", "--where", "status:done", "--step", "0"])
            .success();
        assert_snapshot!("show_where", all.stdout);
    });
    let lines = place
        .amend(&["show", "--where", "status:done", "--json"])
        .success()
        .json_lines();
    assert_eq!(lines.len(), 2);
    let none = place
        .amend(&["show", "--where", "stop:context-full"])
        .success();
    assert_eq!(none.stdout, "no chains\n");
    place.amend(&["show"]).code(2).complains(&["name a chain"]);
    place
        .amend(&["show", &sky, "--where", "x"])
        .code(2)
        .complains(&["not both"]);
    place
        .amend(&["show", &sky, "--step", "99"])
        .code(2)
        .complains(&["has no step 99; its steps are 0 to"]);
}

#[test]
fn filters_are_explained_by_every_command_that_takes_them() {
    let place = place();
    let filter = "principle:\"o'hara; drop\" p>0.7 label:none \"some text\"";
    let explained = place
        .amend(&["ls", "--where", filter, "--explain"])
        .success();
    assert_snapshot!("explain", explained.stdout);
    for command in [
        &["stats"][..],
        &["show"],
        &["agreement"],
        &["export", "--format", "trl-sft", "--out", "x"],
        &["label", "accept"],
        &["constitution", "coverage"],
    ] {
        let same = place
            .amend(&[command, &["--where", filter, "--explain"]].concat())
            .success();
        assert_eq!(same.stdout, explained.stdout, "{command:?}");
    }
    assert!(!place.path("x").exists());
    assert!(found(&place, "label:accept").is_empty());
}

#[test]
fn agreement_is_told_per_principle() {
    let place = place();
    let empty = place.amend(&["agreement"]).success();
    assert!(
        empty.stdout.contains("no verdict was judged yet"),
        "{}",
        empty.stdout
    );
    let (capital, sky) = (id(&place, "capital"), id(&place, "sky"));
    for (chain, verb, principle, step) in [
        (&capital, "agree", "plain", "1"),
        (&capital, "agree", "kind", "3"),
        (&sky, "disagree", "plain", "1"),
        (&sky, "agree", "kind", "2"),
    ] {
        place
            .amend(&["label", chain, verb, principle, "--step", step])
            .success();
    }
    let text = place.amend(&["agreement"]).success();
    let json = place.amend(&["agreement", "--json"]).success();
    settings().bind(|| {
        assert_snapshot!("agreement", text.stdout);
        assert_snapshot!("agreement_json", json.stdout);
    });
    let one = place
        .amend(&["agreement", "--where", "prompt:sky", "--json"])
        .success();
    assert_eq!(one.json_lines()[0]["agreement"]["table"]["neither"], 1);
}

#[test]
fn a_run_is_told_as_it_happened() {
    let place = place();
    let log = place.amend(&["log"]).success();
    settings().bind(|| assert_snapshot!("log", log.stdout));
    // A run that has ended has nothing more to follow.
    let follow = place.amend(&["log", "--follow"]).success();
    assert_eq!(follow.stdout, log.stdout);
    let last = place
        .amend(&["log", "--last", "2", "--json"])
        .success()
        .json_lines();
    assert_eq!(last.len(), 2);
    assert_eq!(last[1]["what"], "done");
    place
        .amend(&["log", "--run", "zzz"])
        .code(2)
        .complains(&["no run `zzz`"]);
}

#[test]
fn a_run_is_followed_while_it_goes_on() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let place = Place::new();
    place
        .write("c.yaml", CONSTITUTION)
        .write("p.jsonl", "{\"id\": \"a\", \"prompt\": \"first\"}\n{\"id\": \"b\", \"prompt\": \"second\"}\n")
        .write(
            "script.yaml",
            "rules:\n  - {verdict: false, contains: [second], until: go, reply: At last.}\n  \
             - {verdict: false, reply: At once.}\n  - {verdict: true, reply: '{\"violated\": false}'}\n",
        );
    let mut run = place
        .command([
            "run",
            "p.jsonl",
            "-c",
            "c.yaml",
            "--rounds",
            "1",
            "--json",
            "--backend",
            "scripted",
            "--script",
            "script.yaml",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The first step is stored, and the other chain waits.
    let mut steps = BufReader::new(run.stdout.take().unwrap()).lines();
    steps.next().unwrap().unwrap();
    let mut follow = place
        .command(["log", "--follow", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(follow.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    assert_eq!(events.next().unwrap()["what"], "running");
    place.write("go", "");
    let rest: Vec<_> = events.collect();
    assert_eq!(rest.last().unwrap()["what"], "done");
    let ends = rest.iter().filter(|event| event["what"] == "end");
    assert_eq!(ends.count(), 2);
    assert!(follow.wait().unwrap().success());
    for step in steps {
        step.unwrap();
    }
    assert!(run.wait().unwrap().success());
}

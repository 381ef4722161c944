//! `amend constitution test` on the scripted backend.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use insta::assert_snapshot;

use crate::builder::Place;

const CONSTITUTION: &str = "
schema: 1
name: test
version: 1.0.0
principles:
  - id: no-perhaps
    title: Speak plainly
    critique: Does the response hedge where a plain answer is known?
    revision: Say it plainly.
    tests:
      - {prompt: 'Capital of <France>?', response: 'It is perhaps Paris & so on.', expect: violation}
      - {prompt: 'Capital of <France>?', response: Paris may be it., expect: violation}
      - {prompt: 'Capital of <France>?', response: Paris., expect: ok}
      - {prompt: Capital of Spain?, response: Madrid., expect: ok}
  - id: ends-asking
    title: End with a question
    revision: End with a question to the reader.
    status: draft
    check: {ends_with_any: ['?']}
    tests:
      - {prompt: Hello., response: Hi., expect: violation}
      - {prompt: Hello., response: Hi?, expect: ok}
  - id: untested
    critique: Is the response short?
    revision: Shorten it.
";

const SCRIPT: &str = r#"
rules:
  - verdict: true
    contains: [perhaps]
    probability: 0.875
    reply: '{"violated": true, "quote": "perhaps Paris", "critique": "It hedges.", "severity": "minor"}'
  - {verdict: true, contains: [may be], probability: 0.375, reply: '{"violated": false}'}
  - verdict: true
    contains: [Madrid]
    probability: 0.625
    reply: '{"violated": true, "quote": "Rome", "critique": "Wrong.", "severity": "major"}'
  - {verdict: true, contains: [broken], error: the script says so}
  - {verdict: true, contains: [mute], reply: 'No critique needed.'}
  - {verdict: true, probability: 0.125, reply: '{"violated": false}'}
"#;

fn place() -> Place {
    let place = Place::new();
    place
        .write("c.yaml", CONSTITUTION)
        .write("script.yaml", SCRIPT);
    place
}

const TEST: &[&str] = &["constitution", "test", "c.yaml"];

#[test]
fn a_report_in_each_format() {
    let place = place();
    assert_snapshot!("text", place.scripted(TEST).success().stdout);
    let json = place.scripted(&[TEST, &["--format", "json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json.success().stdout).unwrap();
    assert_eq!(json["calls"]["made"], 0, "replies come from the store");
    assert_snapshot!("json", serde_json::to_string_pretty(&json).unwrap());
    let junit = place.scripted(&[TEST, &["--format", "junit"]].concat());
    assert_snapshot!("junit", junit.success().stdout);
}

#[test]
fn junit_is_legal_whatever_is_quoted() {
    let place = place();
    let script = r#"
rules:
  - verdict: true
    probability: 0.875
    reply: '{"violated": true, "quote": "\u0001]]>\u001b[31m&\uffff", "critique": "<\u0000>", "severity": "minor"}'
"#;
    place.write("script.yaml", script).write(
        "c.yaml",
        CONSTITUTION.replace("Capital of Spain?", "\"Capital\\nof\\x7f \\eSpain?\""),
    );
    let xml = place.scripted(&[TEST, &["--format", "junit"]].concat());
    let xml = xml.success().stdout;
    let quote = "quote: \u{fffd}]]&gt;\u{fffd}[31m&amp;\u{fffd} (not in the response)";
    assert!(xml.contains(quote), "{xml}");
    assert!(xml.contains("Capital&#10;of\u{7f} \u{fffd}Spain?"), "{xml}");
    let illegal = |c: char| matches!(c, '\0'..='\x08' | '\x0b'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    assert!(!xml.contains(illegal), "{xml:?}");
}

#[test]
fn repetitions_stand_together_and_one_principle_can_be_chosen() {
    let place = place();
    let args = ["--principle", "no-perhaps", "--repeat", "3"];
    let shown = place.scripted(&[TEST, &args].concat()).success().stdout;
    assert_snapshot!("repeated", shown);
}

#[test]
fn an_accuracy_below_the_least_ends_with_four_and_an_error_with_three() {
    let place = place();
    let least = |x: &str| place.scripted(&[TEST, &["--min-accuracy", x]].concat());
    least("0.6").success();
    let below = least("0.7").code(4);
    assert!(
        below.stdout.contains("below --min-accuracy 70 %"),
        "{}",
        below.stdout
    );
    place.write("c.yaml", CONSTITUTION.replace("Paris may be it.", "broken"));
    let broken = place.scripted(TEST).code(3);
    assert!(
        broken.stdout.contains("the script says so"),
        "{}",
        broken.stdout
    );
    place.write("c.yaml", CONSTITUTION.replace("Paris may be it.", "mute"));
    let mute = place.scripted(TEST).success().stdout;
    assert!(mute.contains("no verdict"), "{mute}");
    assert!(
        mute.contains("1 without a verdict, 0 of them with an error"),
        "{mute}"
    );
}

#[test]
fn history_shows_each_wording_once() {
    let place = place();
    let history = &[TEST, &["--history"]].concat();
    let command = "`amend constitution test c.yaml` makes one";
    place
        .amend(history)
        .code(2)
        .complains(&["no store at amend.db", command]);
    assert!(!place.path("amend.db").exists());
    place.scripted(TEST).success();
    place.scripted(TEST).success();
    place.write(
        "c.yaml",
        CONSTITUTION.replace("Paris may be it.", "It is perhaps Lyon."),
    );
    let args = ["--principle", "no-perhaps"];
    place.scripted(&[TEST, &args].concat()).success();
    let text = place.amend(history).success().stdout;
    insta::with_settings!({filters => vec![(r"\d{4}-\d\d-\d\dT[\d:]+Z", "[when]")]}, {
        assert_snapshot!("history", text);
    });
    let json = place
        .amend(&[history, &["--format", "json"][..]].concat())
        .success();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    insta::with_settings!({filters => vec![(r"\d{4}-\d\d-\d\dT[\d:]+Z", "[when]")]}, {
        assert_snapshot!("history_json", serde_json::to_string_pretty(&json).unwrap());
    });
    let rows = json["history"].as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[0]["runs"], &rows[1]["tests"]),
        (2, &2.into(), &4.into())
    );
    assert_eq!(
        (&rows[0]["current"], &rows[1]["current"]),
        (&false.into(), &true.into())
    );
    assert_eq!(
        (&rows[1]["accuracy"], &rows[1]["tests_written"]),
        (&0.75.into(), &6.into())
    );
}

#[test]
fn what_cannot_be_tested_is_said_before_a_model_is_loaded() {
    let place = place();
    let test = |args: &[&str]| place.amend(&[TEST, args].concat()).code(2);
    test(&["--principle", "no-perhap"]).complains(&["did you mean `no-perhaps`"]);
    test(&["--principle", "untested"]).complains(&["there is no test to run", "tests:"]);
    test(&["--pack", "paper"]).complains(&["hold no verdict", "--pack default"]);
    test(&["--repeat", "0"]).complains(&["--repeat"]);
    test(&["--min-accuracy", "70"]).complains(&["between 0 and 1"]);
    test(&["--watch", "--format", "junit"]).complains(&["--watch knows"]);
    test(&["--history", "--format", "junit"]).complains(&["--history knows"]);
    for more in [
        ["--min-accuracy", "0.5"],
        ["--principle", "no-perhaps"],
        ["--repeat", "2"],
    ] {
        test(&["--history", more[0], more[1]]).complains(&["cannot be used with"]);
    }
    place
        .amend(&["constitution", "test", "minimal", "--watch"])
        .code(2)
        .complains(&["--watch needs a file"]);
    place
        .amend(&["constitution", "test", "minmal"])
        .code(2)
        .complains(&["did you mean `minimal`"]);
    assert!(!place.path("amend.db").exists());
}

/// A watching process and what it prints; killed when a test fails.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads lines up to one that holds `text`; the lines before it are given back with it.
pub fn until(lines: &mut impl BufRead, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let before = read.len();
        lines.read_line(&mut read).unwrap();
        assert!(read.len() > before, "it ended before `{text}`:\n{read}");
    }
    read
}

#[test]
fn watching_tests_what_was_changed_and_ends_with_ctrl_c() {
    let place = place();
    let args = [
        TEST,
        &[
            "--watch",
            "--backend",
            "scripted",
            "--script",
            "script.yaml",
        ],
    ]
    .concat();
    let child = place
        .command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut watching = Watching(child);
    let mut out = BufReader::new(watching.0.stdout.take().unwrap());
    let mut err = BufReader::new(watching.0.stderr.take().unwrap());
    let first = until(&mut out, "model calls");
    assert!(
        first.contains("no-perhaps") && first.contains("ends-asking"),
        "{first}"
    );
    until(&mut err, "Ctrl-C ends");

    place.write("c.yaml", "schema: 1\nnme: test\n");
    until(&mut err, "did you mean `name`");
    until(&mut err, "Ctrl-C ends");

    place.write(
        "c.yaml",
        CONSTITUTION.replace("Is the response short?", "Is it short?"),
    );
    until(&mut err, "Ctrl-C ends");
    let untested = until(&mut out, "more answered");
    assert!(!untested.contains("ends-asking"), "{untested}");

    place.write(
        "c.yaml",
        CONSTITUTION.replace("Paris may be it.", "It is perhaps Lyon."),
    );
    let second = until(&mut out, "more answered");
    assert!(
        second.contains("no-perhaps") && !second.contains("ends-asking"),
        "{second}"
    );
    assert!(second.contains("5 of 6 verdicts correct"), "{second}");
    assert!(
        second.contains("2 model calls"),
        "only what was changed is asked: {second}"
    );
    until(&mut err, "Ctrl-C ends");

    let pid = watching.0.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    assert_eq!(watching.0.wait().unwrap().code(), Some(130));
}

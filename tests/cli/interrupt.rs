//! Ctrl-C and SIGTERM: what is finished is kept, the way to go on is said, and a second one leaves at once.
//!
//! Replies wait for files (`until`), so that the tests know what is in flight without knowing any time.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use crate::builder::Place;
use crate::kill::dump;

const SCRIPT: &str = "
rules:
  - {contains: ['late question'], until: late}
";

const PROMPTS: &str = r#"{"id": "a", "prompt": "The first question?"}
{"id": "late", "prompt": "The late question?"}
{"id": "b", "prompt": "The second question?"}
{"id": "c", "prompt": "The third question?"}
"#;

const RUN: &[&str] = &[
    "run",
    "p.jsonl",
    "-c",
    "minimal",
    "--parallel",
    "2",
    "--backend",
    "scripted",
    "--script",
    "script.yaml",
];

fn place() -> Place {
    let place = Place::new();
    place.write("p.jsonl", PROMPTS).write("script.yaml", SCRIPT);
    place
}

/// A run of which only the late chain is left, and that one waits for its draft.
struct Waiting {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Waiting {
    fn begin(place: &Place) -> Self {
        Self::begin_with(place, &[])
    }

    fn begin_with(place: &Place, more: &[&str]) -> Self {
        let mut child = place
            .command([RUN, &["--json"], more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut ended = 0;
        while ended < 3 {
            let line: serde_json::Value =
                serde_json::from_str(&stdout.next().unwrap().unwrap()).unwrap();
            ended += u32::from(line["event"] == "chain");
        }
        Self {
            child,
            stdout,
            stderr,
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits until the run says on stderr that it was interrupted.
    fn heard(&mut self) {
        let mut lines = self.stderr.by_ref().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("press Ctrl-C again to leave at once")));
    }

    /// Waits for the end; gives the exit code, the rest of stderr, and the last line of stdout.
    fn end(mut self) -> (Option<i32>, String, String) {
        let last = self.stdout.map(Result::unwrap).last().unwrap_or_default();
        let said: Vec<_> = self.stderr.map(Result::unwrap).collect();
        let status = self.child.wait().unwrap();
        (status.code(), said.join("\n"), last)
    }
}

/// Runs the command that a run printed to go on with.
fn go_on(place: &Place, said: &str) {
    let (_, command) = said.split_once("continue with: amend ").unwrap();
    let args: Vec<_> = command.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(args[0], "resume");
    place.write("late", "");
    place.amend(&args).success();
}

fn undisturbed() -> String {
    let place = place();
    place.write("late", "");
    place.amend(RUN).success();
    dump(&place.path("amend.db")).replace(&place.root().display().to_string(), "")
}

fn continued(place: &Place) -> String {
    dump(&place.path("amend.db")).replace(&place.root().display().to_string(), "")
}

#[test]
fn the_first_signal_stores_what_is_in_flight_and_says_how_to_go_on() {
    let undisturbed = undisturbed();
    for signal in ["INT", "TERM"] {
        let place = place();
        let mut run = Waiting::begin(&place);
        run.signal(signal);
        run.heard();
        place.write("late", "");
        let (code, said, last) = run.end();
        assert_eq!(code, Some(130), "{said}");
        let summary: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!(
            (&summary["event"], &summary["interrupted"]),
            (&"summary".into(), &true.into())
        );
        let runs = place.amend(&["runs", "--json"]).success().json_lines();
        assert_eq!(
            (
                runs[0]["state"].as_str(),
                runs[0]["done"].as_u64(),
                runs[0]["running"].as_u64()
            ),
            (Some("interrupted"), Some(3), Some(1))
        );
        // The draft that was in flight is there, and nothing was asked after it.
        let late = place.amend(&["ls", "prompt:late", "--json"]).success();
        assert_eq!(late.json_lines()[0]["steps"], 1);
        go_on(&place, &said);
        assert!(continued(&place) == undisturbed, "after SIG{signal}");
    }
}

#[test]
fn a_prompt_file_that_is_changed_meanwhile_is_told() {
    let place = place();
    let run = Waiting::begin(&place);
    place.write(
        "p.jsonl",
        format!("{PROMPTS}{{\"prompt\": \"One more?\"}}\n"),
    );
    place.write("late", "");
    let (code, said, _) = run.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("p.jsonl was changed"), "{said}");
    // Nothing is said of a file that is as it was.
    let quiet = place
        .amend(&[RUN, &["--db", "other.db"]].concat())
        .success();
    assert!(!quiet.stderr.contains("changed"), "{}", quiet.stderr);
}

#[test]
fn the_second_signal_leaves_at_once_and_loses_nothing_that_was_finished() {
    let place = place();
    let mut run = Waiting::begin(&place);
    run.signal("INT");
    run.heard();
    run.signal("INT");
    let (code, said, _) = run.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("left at once"), "{said}");
    let runs = place.amend(&["runs", "--json"]).success().json_lines();
    assert_eq!(runs[0]["done"], 3);
    go_on(&place, &said);
    assert!(continued(&place) == undisturbed());
}

#[test]
fn a_run_that_has_nothing_left_when_it_is_interrupted_is_done() {
    let place = place();
    let mut run = Waiting::begin_with(&place, &["--rounds", "0"]);
    run.signal("INT");
    run.heard();
    place.write("late", "");
    let (code, said, _) = run.end();
    assert_eq!(code, Some(130), "{said}");
    let runs = place.amend(&["runs", "--json"]).success().json_lines();
    assert_eq!(
        (&runs[0]["state"], &runs[0]["done"]),
        (&"done".into(), &4.into())
    );
    // Beside a run that is not, another one over the same prompts is refused.
    place.amend(RUN).success();
}

#[test]
fn replies_that_do_not_come_are_not_waited_for_without_end() {
    let place = place();
    let mut run = Waiting::begin(&place);
    run.signal("INT");
    run.heard();
    let (code, said, last) = run.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(
        !said.contains("left at once") && last.contains("summary"),
        "{said}"
    );
    go_on(&place, &said);
    assert!(continued(&place) == undisturbed());
}

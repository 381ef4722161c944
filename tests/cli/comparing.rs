//! Trying, comparing and covering constitutions on the scripted backend.

use std::io::Write;
use std::process::Stdio;

use insta::assert_snapshot;

use crate::builder::Place;

const OLD: &str = "
schema: 1
name: old
version: 1.0.0
principles:
  - id: plain
    title: Speak plainly
    critique: Does the response hedge?
    revision: Say it plainly.
  - id: asking
    title: End with a question
    revision: End with a question to the reader.
    check: {ends_with_any: ['?']}
";

const SCRIPT: &str = r#"
rules:
  - {verdict: false, contains: [capital, "to the reader"], reply: "It is perhaps Paris, is it not?"}
  - {verdict: false, contains: [capital, "Say it plainly"], reply: "It is Paris."}
  - {verdict: false, contains: [capital, "Leave out"], reply: "Paris."}
  - {verdict: false, contains: [capital], reply: "It is perhaps Paris."}
  - {verdict: false, contains: [sky], reply: "Blue, or what do you <b>see</b>?"}
  - {verdict: false, contains: [fails], reply: "<think>"}
  - verdict: true
    contains: [perhaps Paris]
    probability: 0.875
    reply: '{"violated": true, "quote": "perhaps Paris", "critique": "It hedges.", "severity": "minor"}'
  - {verdict: true, probability: 0.125, reply: '{"violated": false}'}
"#;

/// Two constitutions, prompts and a script for both.
pub fn place() -> Place {
    let place = Place::new();
    place
        .write("old.yaml", OLD)
        .write(
            "new.yaml",
            OLD.replace("name: old", "name: new")
                .replace("check: {ends_with_any: ['?']}", "check: {max_words: 3}")
                .replace("End with a question to the reader.", "Leave out what is not needed."),
        )
        .write("script.yaml", SCRIPT)
        .write(
            "p.jsonl",
            "{\"id\": \"capital\", \"prompt\": \"What is the capital of France?\", \"topic\": \"geography\"}\n\
             {\"id\": \"sky\", \"prompt\": \"What colour is the sky?\"}\n\
             {\"id\": \"fails\", \"prompt\": \"This fails.\"}\n",
        );
    place
}

/// The id that a run printed.
fn id_of(stdout: &str) -> String {
    let line = stdout
        .lines()
        .find(|line| line.starts_with("run "))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

const HOW: &[&str] = &["--select", "all", "--rounds", "2", "--recheck"];

fn two_runs(place: &Place) -> (String, String) {
    let first = [&["run", "p.jsonl", "-c", "old.yaml"], HOW].concat();
    let a = id_of(&place.scripted(&first).code(3).stdout);
    let second = [&["run", "--drafts-from", &a[..5], "-c", "new.yaml"], HOW].concat();
    let outcome = place.scripted(&second).success();
    assert!(
        outcome.stderr.contains("1 chains of run") && outcome.stderr.contains("have no draft"),
        "{}",
        outcome.stderr
    );
    (a, id_of(&outcome.stdout))
}

#[test]
fn drafts_of_a_run_are_taken_with_their_calls_and_not_written_again() {
    let place = place();
    let (a, b) = two_runs(&place);
    let rows = |run: &str| {
        place
            .amend(&["ls", "--run", run, "--json", "status:done"])
            .success()
            .json_lines()
    };
    let (old, new) = (rows(&a), rows(&b));
    let drafts = |rows: &[serde_json::Value]| -> Vec<_> {
        let row = |r: &serde_json::Value| (r["prompt_id"].clone(), r["draft"].clone());
        rows.iter().map(row).collect()
    };
    assert_eq!(drafts(&old), drafts(&new));
    assert_eq!(new.len(), 2);
    let id = new[0]["chain_id"].as_str().unwrap();
    let shown = place.amend(&["show", id, "--json"]).success().stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["prompt_metadata"]["topic"], "geography");
    let call = &shown["steps"][0]["calls"][0];
    assert_eq!(
        (&call["reused"], &call["text"]),
        (&true.into(), &"It is perhaps Paris.".into())
    );
    // The same command finds its run; the drafts are part of what it is.
    let again = [&["run", "--drafts-from", &a, "-c", "new.yaml"], HOW].concat();
    let again = place.scripted(&again).success().stdout;
    assert!(
        again.contains(&format!("run {b} was complete: 2 chains")),
        "{again}"
    );
    place.amend(&["resume", &b]).success();
    let fresh = [&["run", "p.jsonl", "-c", "new.yaml"], HOW].concat();
    assert_ne!(id_of(&place.scripted(&fresh).code(3).stdout), b);
}

#[test]
fn drafts_that_cannot_be_taken_are_refused() {
    let place = place();
    let run = |args: &[&str]| place.scripted(&[&["run"], args].concat()).code(2);
    run(&["--drafts-from", "abc"]).complains(&["no store at"]);
    run(&[]).complains(&["name a prompt file", "--drafts-from"]);
    two_runs(&place);
    run(&["--drafts-from", "zzzzz"]).complains(&["no run `zzzzz`"]);
    run(&["p.jsonl", "--drafts-from", "abc"]).complains(&["cannot be used with"]);
    run(&["--drafts-from", "abc", "--samples", "2"]).complains(&["cannot be used with"]);
    place.write("q.jsonl", "{\"prompt\": \"This fails.\"}\n");
    let failed = place
        .scripted(&["run", "q.jsonl", "-c", "old.yaml"])
        .code(3);
    run(&["--drafts-from", &id_of(&failed.stdout)]).complains(&["has no draft yet"]);
}

#[test]
fn a_dry_run_over_drafts_counts_no_drafts() {
    let place = place();
    let (a, _) = two_runs(&place);
    let dry = |args: &[&str]| {
        let args = [
            &["run"],
            args,
            &["-c", "new.yaml", "--rounds", "1", "--dry-run", "--json"],
        ]
        .concat();
        place.scripted(&args).success().json_lines().remove(0)
    };
    let (file, drafts) = (dry(&["p.jsonl"]), dry(&["--drafts-from", &a]));
    assert_eq!((&file["chains"], &drafts["chains"]), (&3.into(), &2.into()));
    let per_chain = |dry: &serde_json::Value| {
        dry["calls_max"].as_u64().unwrap() / dry["chains"].as_u64().unwrap()
    };
    assert_eq!(per_chain(&file), per_chain(&drafts) + 2);
}

#[test]
fn two_runs_are_laid_side_by_side() {
    let place = place();
    let (a, b) = two_runs(&place);
    let text = place.amend(&["compare", &a, &b]).success().stdout;
    assert_snapshot!("compare", text);
    let differing = place
        .amend(&["compare", &a, &b, "--differs-only"])
        .success()
        .stdout;
    assert!(!differing.contains("sky, sample 0  same"), "{differing}");
    let lines = place
        .amend(&["compare", &a, &b, "--json"])
        .success()
        .json_lines();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[0]["pair"]["first"]["final"],
        "It is perhaps Paris, is it not?"
    );
    let figures = &lines[2];
    assert_eq!(figures["about"], "comparison");
    assert_eq!(
        (&figures["left_out_first"], &figures["left_out_second"]),
        (&1.into(), &0.into())
    );
    assert_snapshot!(
        "compare_json",
        serde_json::to_string_pretty(&figures["comparison"]).unwrap()
    );
    place
        .amend(&["compare", &a, &a])
        .code(2)
        .complains(&["compared with itself"]);
    place
        .amend(&["compare", &a, "zzz"])
        .code(2)
        .complains(&["no run `zzz`"]);
}

#[test]
fn runs_without_a_prompt_in_common_have_no_pairs() {
    let place = place();
    place.write(
        "sea.jsonl",
        "{\"id\": \"sea\", \"prompt\": \"Is the sky at sea another one?\"}\n",
    );
    let run = |file: &str, code| {
        id_of(
            &place
                .scripted(&["run", file, "-c", "old.yaml"])
                .code(code)
                .stdout,
        )
    };
    let (a, b) = (run("p.jsonl", 3), run("sea.jsonl", 0));
    let text = place.amend(&["compare", &a, &b]).success().stdout;
    assert!(
        text.contains("0 pairs: 0 differ")
            && text.contains("no prompt and sample has a finished chain"),
        "{text}"
    );
    let json = place
        .amend(&["compare", &a, &b, "--json"])
        .success()
        .json_lines();
    assert_eq!(json.len(), 1);
    let figures = &json[0]["comparison"];
    assert_eq!(
        (&figures["pairs"], &figures["fired"]["p_value"]),
        (&0.into(), &1.0.into())
    );
}

#[test]
fn pairs_are_chosen_by_what_holds_in_either_run() {
    let place = place();
    let (a, b) = two_runs(&place);
    let compare = |args: &[&str]| place.amend(&[&["compare", &a, &b], args].concat());
    let figures = |filter: &str| {
        let lines = compare(&["--json", "--where", filter]).success();
        lines.json_lines().pop().unwrap()
    };
    // `asking` fired on `capital` in A only, and on `sky` in B only.
    let fired = figures("principle:asking violated:true");
    assert_eq!(fired["comparison"]["pairs"], 2);
    assert_eq!(fired["left_out_by_filter"], 0);
    let one = figures("prompt:sky");
    assert_eq!(one["filter"], "prompt:sky");
    assert_eq!(one["comparison"]["pairs"], 1);
    let left_out = ["left_out_first", "left_out_second", "left_out_by_filter"];
    assert_eq!(
        left_out.map(|key| one[key].as_u64()),
        [Some(1), Some(0), Some(1)]
    );
    assert_eq!(
        figures("revised:true not prompt:sky")["comparison"]["fired"]["both"],
        1
    );
    let text = compare(&["--where", "prompt:sky"]).success().stdout;
    assert_snapshot!("compare_where", text);
    let none = compare(&["--where", "prompt:none"]).success().stdout;
    assert!(
        none.contains("0 pairs") && none.contains("left out by --where: 2 pairs"),
        "{none}"
    );
    let sql = compare(&["--where", "prompt:sky", "--explain"])
        .success()
        .stdout;
    assert!(
        sql.contains("SELECT c.chain_id") && sql.contains("'sky'"),
        "{sql}"
    );
    compare(&["--where", "colour:red"])
        .code(2)
        .complains(&["filter, column 1", "colour"]);
}

pub const COVERAGE: &[&str] = &["constitution", "coverage"];

#[test]
fn coverage_shows_which_principles_undo_each_other() {
    let place = place();
    place.amend(COVERAGE).code(2).complains(&["no store at"]);
    let (a, _) = two_runs(&place);
    let of = |format: &str| {
        let args = [COVERAGE, &["--run", &a, "--format", format]].concat();
        place.amend(&args).success().stdout
    };
    assert_snapshot!("coverage", of("text"));
    let json: serde_json::Value = serde_json::from_str(&of("json")).unwrap();
    assert_snapshot!(
        "coverage_json",
        serde_json::to_string_pretty(&json).unwrap()
    );
    let html = of("html");
    assert!(
        html.contains("<td class=\"heat\" style=\"--share:"),
        "{html}"
    );
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
    let all: serde_json::Value = serde_json::from_str(
        &place
            .amend(&[COVERAGE, &["--format", "json"]].concat())
            .success()
            .stdout,
    )
    .unwrap();
    assert_eq!(all["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn coverage_of_a_store_without_steps_finds_nothing() {
    let place = place();
    place.write(
        "tested.yaml",
        "name: t\nprinciples:\n  - id: a\n    revision: Cut it.\n    check: {max_words: 3}\n    \
         tests: [{prompt: p, response: r, expect: ok}]\n",
    );
    place
        .scripted(&["constitution", "test", "tested.yaml"])
        .success();
    let of = |format: &str| {
        let args = [COVERAGE, &["--format", format]].concat();
        place.amend(&args).success().stdout
    };
    for format in ["text", "html"] {
        let page = of(format);
        assert!(page.contains("no principle was asked about"), "{page}");
        assert!(page.contains("0 chains"), "{page}");
    }
    let json: serde_json::Value = serde_json::from_str(&of("json")).unwrap();
    assert_eq!(json["chains"], 0);
}

#[test]
fn coverage_escapes_what_runs_are_called() {
    let place = place();
    place.write(
        "evil.yaml",
        OLD.replace("name: old", "name: '</title><script>alert(1)</script>'"),
    );
    place
        .scripted(&["run", "p.jsonl", "-c", "evil.yaml", "--limit", "1"])
        .success();
    let html = place
        .amend(&[COVERAGE, &["--format", "html"]].concat())
        .success()
        .stdout;
    assert!(!html.contains("<script"), "{html}");
    assert!(html.contains("&lt;script&gt;"), "{html}");
}

const TRY: &[&str] = &["constitution", "try", "old.yaml", "--principle"];

#[test]
fn a_principle_is_tried_on_a_prompt() {
    let place = place();
    let tried = |args: &[&str]| place.scripted(&[TRY, args].concat());
    let drafted = tried(&["plain", "--prompt", "What is the capital of France?"]);
    assert_snapshot!("try", drafted.success().stdout);
    let given = tried(&[
        "asking",
        "--prompt",
        "A capital?",
        "--response",
        "\u{1b}[2JNo.",
    ]);
    assert_snapshot!("try_response", given.success().stdout);
    let json = tried(&[
        "plain",
        "--prompt",
        "What is the capital of France?",
        "--format",
        "json",
    ]);
    let json = json.success().json_lines();
    assert_eq!(json.len(), 1);
    assert_snapshot!("try_json", serde_json::to_string_pretty(&json[0]).unwrap());
    let failed = tried(&["plain", "--prompt", "This fails."]).code(3).stdout;
    assert!(
        failed.contains("failed: the draft holds no text"),
        "{failed}"
    );
    tried(&["plan", "--prompt", "x"])
        .code(2)
        .complains(&["did you mean `plain`"]);
    tried(&["plain", "--prompt", " "])
        .code(2)
        .complains(&["--prompt is empty"]);
    assert!(!place.path("amend.db").exists(), "nothing is kept");
}

#[test]
fn the_file_is_read_again_between_tries() {
    let place = place();
    let args = [
        TRY,
        &["asking", "--response", "No.", "--backend", "scripted"],
    ]
    .concat();
    let mut child = place
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut err = std::io::BufReader::new(child.stderr.take().unwrap());
    stdin.write_all(b"Hello.\n").unwrap();
    let first = crate::principle_tests::until(&mut out, "recheck");
    assert!(first.contains("violated, P 1.000"), "{first}");
    place.write("old.yaml", "schema: 1\nnme: old\n");
    stdin.write_all(b"\n").unwrap();
    crate::principle_tests::until(&mut err, "did you mean `name`");
    place.write("old.yaml", OLD.replace("['?']", "['.']"));
    stdin.write_all(b"\n").unwrap();
    let second = crate::principle_tests::until(&mut out, "ok, P 0.000");
    assert!(!second.contains("revision"), "{second}");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

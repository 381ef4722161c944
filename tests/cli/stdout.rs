//! Output that stdout does not take: a full disk is told, a reader that went away is not, and in both cases
//! the work is done.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use crate::builder::{Outcome, Place};

fn place() -> Place {
    let place = Place::new();
    place.write(
        "p.jsonl",
        "{\"prompt\": \"One?\"}\n{\"prompt\": \"Two?\"}\n",
    );
    place
}

fn onto(place: &Place, args: &[&str], stdout: impl Into<Stdio>) -> Outcome {
    let output = place.command(args).stdout(stdout).output().unwrap();
    Outcome {
        stdout: String::new(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn commands_say_that_stdout_is_full_and_nothing_of_a_reader_that_went_away() {
    let place = place();
    place
        .scripted(&["run", "p.jsonl", "-c", "minimal"])
        .success();
    let chains = place.amend(&["ls", "--json"]).success().json_lines();
    let chain = chains[0]["chain_id"].as_str().unwrap();
    for args in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["ls"],
        &["ls", "--json"],
        &["ls", "--where", "revised:true", "--explain"],
        &["runs"],
        &["runs", "--json"],
        &["show", chain],
        &["show", chain, "--json"],
        &["show", chain, "--raw"],
        &["stats"],
        &["stats", "--json"],
        &["log"],
        &["log", "--json"],
        &["agreement"],
        &["gate"],
        &["export", "--format", "trl-sft", "--out", "sft"],
        &["export", "--format", "trl-sft", "--out", "sft", "--json"],
        &["verify", "sft", "--no-tokens"],
        &["report", "--format", "md"],
        &["completions", "bash"],
        &["render", "--pack", "default", "--step", "draft"],
        &["constitution", "show", "hhh"],
        &["constitution", "schema"],
        &["constitution", "coverage"],
        &["label", chain, "accept"],
        &["label", chain, "history"],
    ] {
        let told = onto(&place, args, full());
        assert_eq!(told.code, Some(1), "{args:?}\n{}", told.stderr);
        told.complains(&["cannot write to stdout", "No space left"]);
        let quiet = onto(&place, args, closed());
        assert_eq!(quiet.code, Some(0), "{args:?}\n{}", quiet.stderr);
        assert!(!quiet.stderr.contains("error"), "{}", quiet.stderr);
        quiet.complains(&[]);
    }
}

#[test]
fn the_exit_code_stays_when_a_reader_went_away() {
    let place = place();
    place
        .scripted(&["run", "p.jsonl", "-c", "minimal"])
        .success();
    place
        .amend(&["export", "--format", "trl-sft", "--out", "sft"])
        .success();
    let rows = place.read("sft/train.jsonl");
    place
        .write("sft/train.jsonl", format!("{rows}{rows}"))
        .write(
            "a.yaml",
            "principles: # list\n- critique: Look for rude words.\n  id: 'a'\n  revision:   Take out what is rude.\nname: \"n\"\n",
        )
        .write(
            "pair.yaml",
            "schema: 1\nname: pair\nprinciples:\n  \
             - {id: brief, revision: Cut it., check: {max_words: 3}}\n  \
             - {id: calm, revision: Calm down., check: {not_contains: ['!']}}\n",
        )
        .write("fails.jsonl", "{\"prompt\": \"This fails.\"}\n")
        .write(
            "script.yaml",
            "rules:\n  \
             - {contains: [Two rules], reply: '1. \"This fails.\"'}\n  \
             - {contains: [fails], error: broken}\n",
        );
    let script = ["--backend", "scripted", "--script", "script.yaml"];
    for (args, code) in [
        (
            &["constitution", "lint", "a.yaml", "--deny", "warnings"][..],
            4,
        ),
        (&["constitution", "fmt", "--check", "a.yaml"], 4),
        (&["verify", "sft", "--no-tokens"], 4),
        (&["verify", "sft", "--no-tokens", "--json"], 4),
        (&["run", "fails.jsonl", "-c", "minimal"], 3),
        (
            &[
                "run",
                "fails.jsonl",
                "-c",
                "minimal",
                "--seed",
                "1",
                "--json",
            ],
            3,
        ),
        (
            &[
                "constitution",
                "try",
                "a.yaml",
                "--principle",
                "a",
                "--prompt",
                "This fails.",
            ],
            3,
        ),
        (&["constitution", "stress", "pair.yaml"], 3),
        (
            &["constitution", "stress", "pair.yaml", "--format", "json"],
            3,
        ),
    ] {
        let args = match code {
            3 => [args, &script].concat(),
            _ => args.to_vec(),
        };
        let quiet = onto(&place, &args, closed());
        assert_eq!(quiet.code, Some(code), "{args:?}\n{}", quiet.stderr);
        assert!(!quiet.stderr.contains("stdout"), "{}", quiet.stderr);
        quiet.complains(&[]);
        let _ = place.amend(&args).code(code);
    }
}

#[test]
fn prompts_are_tried_no_more_when_nobody_reads_what_comes_of_them() {
    let place = place();
    place.write(
        "a.yaml",
        "name: n\nprinciples:\n  - {id: a, revision: Cut it., check: {max_words: 3}}\n",
    );
    let tried = ["constitution", "try", "a.yaml", "--principle", "a"];
    let mut child = place
        .command([&tried[..], &["--response", "No.", "--backend", "scripted"]].concat())
        .stdin(Stdio::piped())
        .stdout(closed())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Hello.\n").unwrap();
    // It ends although more could come.
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(stdin);
}

#[test]
fn a_run_is_done_whatever_becomes_of_its_lines() {
    for (stdout, code) in [(Stdio::from(full()), 1), (closed(), 0)] {
        let place = place();
        let run = [
            "run",
            "p.jsonl",
            "-c",
            "minimal",
            "--backend",
            "scripted",
            "--json",
        ];
        let outcome = onto(&place, &run, stdout).code(code);
        if code == 1 {
            outcome.complains(&["is kept in amend.db", "cannot write to stdout"]);
        }
        let chains = place
            .amend(&["ls", "--json", "status:done"])
            .success()
            .json_lines();
        assert_eq!(chains.len(), 2);
    }
}

#[test]
fn every_chain_is_labelled_though_nobody_reads_what_is_said() {
    let place = place();
    place
        .scripted(&["run", "p.jsonl", "-c", "minimal"])
        .success();
    let chains = place.amend(&["ls", "--json"]).success().json_lines();
    let id = |n: usize| chains[n]["chain_id"].as_str().unwrap();
    onto(&place, &["label", id(0), id(1), "accept"], closed()).success();
    let labelled = place.amend(&["ls", "--json", "label:accept"]).success();
    assert_eq!(labelled.json_lines().len(), 2);
}

#[test]
fn a_full_stderr_stops_nothing() {
    let place = place();
    let output = place
        .command(["ls", "--db", "none.db"])
        .stderr(full())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = place
        .command(["run", "p.jsonl", "-c", "minimal", "--backend", "scripted"])
        .env("AMEND_LOG", "trace")
        .stderr(full())
        .output()
        .unwrap();
    assert!(output.status.success());
}

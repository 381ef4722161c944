//! The whole program over a server.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::builder::Place;
use crate::server::{Answer, Server, decision, nobody, obedient, reply, verdict};

const PROMPTS: &str = "{\"id\": \"a\", \"prompt\": \"How long do I boil an egg?\"}\n\
                       {\"id\": \"b\", \"prompt\": \"How long do I boil rice?\"}\n";

fn place() -> Place {
    let place = Place::new();
    place.write("prompts.jsonl", PROMPTS);
    place
}

fn run<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "run",
        "prompts.jsonl",
        "-c",
        "minimal",
        "--rounds",
        "1",
        "--endpoint",
        url,
    ];
    args.extend(more);
    args
}

fn column(place: &Place, query: &str) -> String {
    let output = Command::new("python3")
        .args(["-c", "import sqlite3, sys\nprint(*[r[0] for r in sqlite3.connect(sys.argv[1]).execute(sys.argv[2])])"])
        .arg(place.path("amend.db"))
        .arg(query)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn chains_run_over_a_server_and_are_found_again_at_another_address() {
    let model = |seen: &crate::server::Seen, _| {
        let violated = seen.text().contains("egg");
        match (seen.body.get("response_format"), seen.body.get("logprobs")) {
            (None, _) => Answer::json(&reply("Boil it for six minutes.")),
            (Some(_), Some(_)) => {
                Answer::json(&decision(violated, if violated { 0.8 } else { 0.2 }))
            }
            (Some(_), None) => Answer::json(&verdict("six minutes")),
        }
    };
    let (place, server) = (place(), Server::openai(model));
    let done = place.amend(&run(&server.url(), &[])).success();
    assert!(done.stdout.contains("2 chains"), "{}", done.stdout);
    let probabilities = column(
        &place,
        "SELECT DISTINCT round(probability, 3) FROM v_verdicts ORDER BY 1",
    );
    assert_eq!(probabilities, "0.2 0.8");
    assert_eq!(column(&place, "SELECT model FROM v_runs"), "small");
    // Only what was found is revised; the revision repeats the draft, so it is not adopted.
    assert_eq!(
        column(
            &place,
            "SELECT group_concat(DISTINCT prompt_id || adopted) FROM v_steps JOIN v_chains USING (chain_id) WHERE kind = 'revision'"
        ),
        "a0"
    );

    let moved = Server::openai(model);
    let again = place.amend(&run(&moved.url(), &[])).success();
    assert!(again.stdout.contains("was complete"), "{}", again.stdout);
    assert!(moved.chats().is_empty());
}

#[test]
fn a_chain_that_fails_leaves_the_others_alone_and_can_be_tried_again() {
    let (place, sick) = (
        place(),
        Server::openai(|seen, _| match seen.text().contains("rice") {
            true => Answer::Whole(200, Vec::new(), b"not JSON".to_vec()),
            false => obedient(seen),
        }),
    );
    let url = sick.url();
    let done = place
        .amend(&run(&url, &["--endpoint-retries", "0"]))
        .code(3);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    let error = column(&place, "SELECT error FROM v_chains WHERE status = 'failed'");
    assert!(error.contains("not JSON"), "{error}");
    assert_eq!(
        column(
            &place,
            "SELECT prompt_id FROM v_chains WHERE status = 'done'"
        ),
        "a"
    );

    let well = Server::openai(|seen, _| obedient(seen));
    let url = well.url();
    let _ = place
        .amend(&["resume", "--retry-errors", "--endpoint", &url])
        .success();
    assert_eq!(
        column(
            &place,
            "SELECT count(*) FROM v_chains WHERE status = 'done'"
        ),
        "2"
    );
}

#[test]
fn a_server_that_goes_away_ends_the_run_and_keeps_it() {
    let place = place();
    // Alone on its address, so that nobody listens there once it has gone.
    let _ = place
        .amend(&run(&nobody(), &["--endpoint-retries", "0"]))
        .code(1)
        .complains(&["nothing listens there"]);
    assert!(!place.path("amend.db").exists());

    let refusing = Server::openai(|_, _| Answer::status(403, &json!({"message": "expired"})));
    let _ = place
        .amend(&run(&refusing.url(), &["--endpoint-retries", "1"]))
        .code(1)
        .complains(&["403: expired", "amend resume"]);
    assert_eq!(
        column(
            &place,
            "SELECT count(*) FROM v_chains WHERE status = 'failed'"
        ),
        "0"
    );
}

#[test]
fn the_access_token_is_neither_stored_nor_printed() {
    let (place, server) = (place(), Server::openai(|seen, _| obedient(seen)));
    let url = server.url();
    let output = place
        .command(run(&url, &["-vv", "--json"]))
        .env("AMEND_API_KEY", "s3cret-token")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| { seen.authorization.as_deref() == Some("Bearer s3cret-token") })
    );
    let mut everything = [output.stdout, output.stderr].concat();
    for file in fs::read_dir(place.root()).unwrap() {
        everything.extend(fs::read(file.unwrap().path()).unwrap());
    }
    assert!(!String::from_utf8_lossy(&everything).contains("s3cret"));
}

#[test]
fn options_about_a_model_in_this_process_are_refused() {
    let place = place();
    for (option, value) in [
        ("--ctx-size", "512"),
        ("-ngl", "1"),
        ("-ngl", "all"),
        ("--threads", "2"),
        ("--chat-template", "chatml"),
        ("--backend", "scripted"),
    ] {
        let _ = place
            .amend(&run("http://127.0.0.1:1", &[option, value]))
            .code(2)
            .complains(&["no effect with --endpoint"]);
    }
    let _ = place
        .amend(&run("http://127.0.0.1:1", &["--deterministic"]))
        .code(2)
        .complains(&["--deterministic needs a model in this process"]);
    for bad in ["127.0.0.1", "ftp://a", "http://me:pw@a", "http://a?key=1"] {
        let _ = place
            .amend(&run(bad, &[]))
            .code(2)
            .complains(&["--endpoint"]);
    }
    let server = Server::openai(|seen, _| obedient(seen));
    let _ = place
        .amend(&run(&server.url(), &["-m", "large"]))
        .code(2)
        .complains(&["no model `large`", "it has: small"]);
}

#[test]
fn a_dry_run_asks_the_server_and_says_what_it_estimates() {
    let (place, server) = (place(), Server::openai(|seen, _| obedient(seen)));
    let url = server.url();
    let done = place.amend(&run(&url, &["--dry-run"])).success();
    assert!(done.stdout.contains("about"), "{}", done.stdout);
    assert!(
        done.stdout.contains("what the context holds is not known"),
        "{}",
        done.stdout
    );
    let done = place.amend(&run(&url, &["--dry-run", "--json"])).success();
    let line = &done.json_lines()[0];
    assert_eq!(line["tokens_estimated"], true);
    assert_eq!(line["context_length"], json!(null));
    assert!(!place.path("amend.db").exists());
}

#[test]
fn an_interrupt_does_not_wait_for_a_server_that_is_silent() {
    let (sender, asked) = mpsc::channel();
    let server = Server::openai(move |_, _| {
        let _ = sender.send(());
        Answer::Silence
    });
    let (place, url) = (place(), server.url());
    let child = place
        .command(run(&url, &[]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    asked.recv_timeout(Duration::from_secs(60)).unwrap();
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    // The server never answers: this returns only because nobody waits for it.
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stdout).contains("amend resume"));
}

#[test]
fn what_is_logged_has_no_colours_where_nobody_sees_them() {
    let place = place();
    let mut chats = 0;
    let server = Server::openai(move |seen, _| {
        chats += 1;
        match chats {
            1 => Answer::status(503, &json!({"error": {"message": "busy"}})),
            _ => obedient(seen),
        }
    });
    let url = server.url();
    let output = place
        .command(run(&url, &[]))
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("trying again"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "{stderr:?}");
}

#[test]
fn an_evaluation_answers_with_one_model_of_a_server_and_judges_with_another() {
    let place = place();
    let listed = |id: &str| json!({"id": id, "object": "model", "created": 1, "owned_by": "test"});
    let models = json!({"object": "list", "data": [listed("small"), listed("wise")]});
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        "/v1/models" => Answer::json(&models),
        "/v1/chat/completions" => obedient(seen),
        _ => Answer::status(404, &json!({"error": {"message": "no such page"}})),
    });
    let url = server.url();
    let outcome = place
        .amend(&[
            "eval",
            "--suite",
            "prompts.jsonl",
            "-c",
            "minimal",
            "--endpoint",
            &url,
            "-m",
            "small",
            "--judge",
            "wise",
            "--fail-if",
            "violations>0.5",
            "--json",
        ])
        .success();
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["model"], "small");
    assert_eq!(report["judge"], "wise");
    assert_eq!(report["before"], Value::Null);
    assert_eq!(report["effect"]["suites"][0]["answers"], 2);
    let chats = server.chats();
    assert!(chats.len() > 2, "two answers, and verdicts on them");
    for seen in chats {
        let asked = if seen.body.get("response_format").is_some() {
            "wise"
        } else {
            "small"
        };
        assert_eq!(seen.body["model"], asked);
    }
}

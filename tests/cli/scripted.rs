//! The whole program on the scripted backend: what it prints, what it stores, what it exports.

use insta::{Settings, assert_snapshot};

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
  - id: ends-asking
    title: End with a question
    critique: Does the response end with a question?
    revision: End with a question to the reader.
    check: {ends_with_any: ['?']}
";

const SCRIPT: &str = r#"
rules:
  - {verdict: false, contains: [capital, "End with"], reply: "The capital is Paris. Shall I say more?"}
  - {verdict: false, contains: [capital, "Say it plainly"], reply: "The capital is Paris."}
  - {verdict: false, contains: [capital], reply: "The capital is perhaps Paris."}
  - verdict: true
    contains: [perhaps Paris]
    probability: 0.875
    reply: '{"violated": true, "quote": "perhaps Paris", "critique": "It hedges.", "severity": "minor"}'
  - {verdict: true, probability: 0.125, reply: '{"violated": false}'}
  - {contains: [breaks], error: the script says so}
  - {verdict: false, contains: [sky], reply: "Here is the revised response:\nBlue."}
"#;

fn place() -> Place {
    let place = Place::new();
    place
        .write("c.yaml", CONSTITUTION)
        .write("script.yaml", SCRIPT)
        .write(
            "p.jsonl",
            r#"{"id": "capital", "prompt": "What is the capital of France?", "topic": "geography"}
{"id": "sky", "prompt": "What colour is the sky?"}
"#,
        );
    place
}

/// Hides what differs from run to run: ids stay, times go.
fn settings() -> Settings {
    let mut settings = Settings::clone_current();
    settings.add_filter(r"\b\d+(\.\d+)? (ms|s)\b", "[time]");
    settings.add_filter(r"\d+(\.\d+)? (tok/s|tokens/s|chains/min)", "[speed]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[when]");
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "[when]");
    settings.add_filter(r"\S+/p\.jsonl", "[folder]/p.jsonl");
    settings
}

const RUN: &[&str] = &[
    "run", "p.jsonl", "-c", "c.yaml", "--select", "all", "--rounds", "1",
];

#[test]
fn a_run_and_everything_that_reads_it_back() {
    let place = place();
    let run = place.scripted(RUN).success();
    let chain = place
        .amend(&["ls", "prompt:capital", "--json"])
        .success()
        .json_lines();
    let id = chain[0]["chain_id"].as_str().unwrap().to_owned();
    settings().bind(|| {
        assert_snapshot!("run", run.stdout);
        assert_snapshot!("ls", place.amend(&["ls"]).success().stdout);
        assert_snapshot!("show", place.amend(&["show", &id[..6]]).success().stdout);
        assert_snapshot!("stats", place.amend(&["stats"]).success().stdout);
        // The width of its columns follows the length of the folder's name.
        let runs = place.amend(&["runs"]).success().stdout;
        let columns: Vec<_> = runs
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_snapshot!("runs", columns.join("\n"));
    });
    let sft = place
        .amend(&["export", "--format", "trl-sft", "--out", "sft"])
        .success();
    settings().bind(|| assert_snapshot!("export", sft.stdout));
    assert_snapshot!("sft_rows", place.read("sft/train.jsonl"));
    let dpo = place.amend(&["export", "--format", "trl-dpo", "--out", "dpo"]);
    dpo.success();
    assert_snapshot!("dpo_rows", place.read("dpo/train.jsonl"));
    assert_snapshot!("dpo_manifest", place.read("dpo/manifest.json"));
}

#[test]
fn the_same_command_again_finds_the_run_complete() {
    let place = place();
    place.scripted(RUN).success();
    let before = place.amend(&["ls", "--json"]).success().stdout;
    let again = place.scripted(RUN).success();
    assert!(
        again.stdout.contains("was complete: 2 chains"),
        "{}",
        again.stdout
    );
    assert_eq!(place.amend(&["ls", "--json"]).success().stdout, before);
    place
        .amend(&["resume"])
        .success()
        .complains(&["nothing to resume"]);
}

#[test]
fn json_keeps_the_bytes_that_a_terminal_would_not_be_given() {
    let place = place();
    let prompt = "The sky\u{7f}? \u{1b}[31mred\u{1b}[0m";
    place.write("p.jsonl", serde_json::json!({"prompt": prompt}).to_string());
    place.scripted(RUN).success();
    let chains = place.amend(&["ls", "--json"]).success().json_lines();
    assert_eq!(chains[0]["prompt"], prompt);
    let list = place.amend(&["ls"]).success().stdout;
    assert!(!list.contains(['\u{7f}', '\u{1b}']), "{list:?}");
}

#[test]
fn a_failed_chain_is_kept_and_can_be_tried_again() {
    let place = place();
    place.write(
        "p.jsonl",
        "{\"prompt\": \"This breaks.\"}\n{\"prompt\": \"The sky?\"}\n",
    );
    place.scripted(RUN).code(3);
    let failed = place
        .amend(&["ls", "status:failed", "--json"])
        .success()
        .json_lines();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0]["error"]
            .as_str()
            .unwrap()
            .contains("the script says so")
    );
    // The same again leaves it alone; only --retry-errors begins it once more.
    assert!(place.scripted(RUN).code(3).stdout.contains("was complete"));
    place.amend(&["resume", "--retry-errors"]).code(3);
    let again = place.scripted(&[RUN, &["--retry-errors", "--json"]].concat());
    let summary = again.code(3).json_lines().pop().unwrap();
    assert_eq!(
        (summary["chains"].as_u64(), summary["failed"].as_u64()),
        (Some(1), Some(1))
    );
    let runs = place.amend(&["runs", "--json"]).success().json_lines();
    assert_eq!(
        (runs[0]["done"].as_u64(), runs[0]["failed"].as_u64()),
        (Some(1), Some(1))
    );
}

#[test]
fn a_run_that_is_only_to_be_continued_is_not_begun() {
    let place = place();
    let resume = [RUN, &["--resume"]].concat();
    place
        .scripted(&resume)
        .code(2)
        .complains(&["no store at amend.db"]);
    assert!(!place.path("amend.db").exists(), "a store was made");
    place.scripted(RUN).success();
    let again = place.scripted(&resume).success();
    assert!(again.stdout.contains("was complete"), "{}", again.stdout);
    let other = [RUN, &["--resume", "--samples", "3"]].concat();
    place
        .scripted(&other)
        .code(2)
        .complains(&["--resume", "amend.db holds no run"]);
    let runs = place.amend(&["runs", "--json"]).success().json_lines();
    assert_eq!(runs.len(), 1);
}

#[test]
fn another_configuration_of_an_unfinished_run_is_refused_with_the_differences() {
    let place = place();
    place.scripted(RUN).success();
    // What a killed process leaves behind: a run that still says that it is running.
    let db = rusqlite_like(&place, "UPDATE runs SET state = 'running'");
    assert!(db, "sqlite3 is needed for this test");
    let mut other = RUN.to_vec();
    *other.last_mut().unwrap() = "3";
    let refused = place.scripted(&other).code(2);
    refused.complains(&["rounds: 1 in the store, 3 now", "amend resume", "--new\n"]);
    let resume = [&other[..], &["--resume"]].concat();
    place
        .scripted(&resume)
        .code(2)
        .complains(&["amend resume", "--new in place of --resume"]);
    other.push("--new");
    place.scripted(&other).success();
    assert_eq!(
        place
            .amend(&["runs", "--json"])
            .success()
            .json_lines()
            .len(),
        2
    );
}

/// Changes a store from outside through Python's sqlite3, which `make test` needs anyway.
pub fn rusqlite_like(place: &Place, sql: &str) -> bool {
    std::process::Command::new("python3")
        .args(["-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"])
        .arg(place.path("amend.db"))
        .arg(sql)
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_changed_prompt_file_is_refused_on_resume() {
    let place = place();
    place.scripted(RUN).success();
    assert!(rusqlite_like(
        &place,
        "UPDATE runs SET state = 'interrupted'"
    ));
    place.write("p.jsonl", "{\"prompt\": \"Another one.\"}\n");
    place
        .amend(&["resume"])
        .code(2)
        .complains(&["prompts: b3:", "in the store"]);
}

#[test]
fn editing_one_principle_asks_the_model_only_where_it_was_used() {
    let place = place();
    place.scripted(RUN).success();
    place.write(
        "c.yaml",
        CONSTITUTION.replace("End with a question to the", "Ask the"),
    );
    let again = place.scripted(&[RUN, &["--json"]].concat()).success();
    let summary = again.json_lines().pop().unwrap();
    assert_eq!(summary["chains"], 2);
    assert!(summary["reused_calls"].as_u64().unwrap() >= 5, "{summary}");
    let steps = summary["steps"].as_u64().unwrap();
    assert!(
        summary["reused_calls"].as_u64().unwrap() < steps,
        "{summary}"
    );
}

#[test]
fn json_output_is_json_lines_and_nothing_else() {
    let place = place();
    let lines = place
        .scripted(&[RUN, &["--json"]].concat())
        .success()
        .json_lines();
    assert_eq!(lines[0]["event"], "run");
    assert_eq!(lines.last().unwrap()["event"], "summary");
    assert!(lines.iter().filter(|line| line["event"] == "step").count() >= 8);
    let dry = place
        .scripted(&[RUN, &["--dry-run", "--json"]].concat())
        .success()
        .json_lines();
    assert_eq!(
        (dry[0]["chains"].as_u64(), dry[0]["prompts"].as_u64()),
        (Some(2), Some(2))
    );
}

#[test]
fn a_dry_run_makes_nothing() {
    let place = place();
    let dry = place.scripted(&[RUN, &["--dry-run"]].concat()).success();
    assert!(dry.stdout.contains("model calls"), "{}", dry.stdout);
    assert!(!place.path("amend.db").exists());
}

#[test]
fn samples_are_told_apart_and_limits_count_prompts() {
    let place = place();
    place
        .scripted(&[RUN, &["--samples", "3", "--limit", "2-2"]].concat())
        .success();
    let rows = place.amend(&["ls", "--json"]).success().json_lines();
    let samples: Vec<_> = rows
        .iter()
        .map(|row| row["sample"].as_u64().unwrap())
        .collect();
    assert_eq!(samples, [0, 1, 2]);
    assert!(rows.iter().all(|row| row["prompt_id"] == "sky"));
}

#[test]
fn two_processes_on_one_run_do_not_both_work() {
    let place = place();
    place.scripted(RUN).success();
    let runs = place.amend(&["runs", "--json"]).success().json_lines();
    let id = runs[0]["run_id"].as_str().unwrap().to_owned();
    // This test process takes the lock that a working process would hold.
    let _held = amend::store::RunLock::acquire(&place.path("amend.db"), &id).unwrap();
    place.scripted(RUN).code(1).complains(&["another process"]);
}

#[test]
fn a_reader_that_closes_early_is_no_error() {
    let place = place();
    let prompts: String = (0..400)
        .map(|n| format!("{{\"prompt\": \"Question {n}?\"}}\n"))
        .collect();
    place.write("p.jsonl", prompts);
    place.scripted(RUN).success();
    let mut child = place
        .command(["ls", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn shells_get_completions_and_pages() {
    let place = place();
    let script = place.amend(&["completions", "bash"]).success().stdout;
    assert!(script.contains("_amend") && script.contains("--retry-errors"));
    place.amend(&["man", "--out", "pages"]).success();
    assert!(place.read("pages/amend-run.1").contains("deterministic"));
    place.write("file", "");
    place
        .amend(&["man", "--out", "file/pages"])
        .code(1)
        .complains(&["file/pages"]);
    for command in [
        "",
        "run",
        "resume",
        "ls",
        "show",
        "label",
        "log",
        "agreement",
        "stats",
        "export",
        "render",
        "runs",
        "model",
        "model info",
        "model fetch",
        "model list",
        "completions",
        "man",
    ] {
        let args: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let help = place.amend(&args).success().stdout;
        assert!(
            help.contains("Examples:"),
            "{command} --help has no examples"
        );
    }
}

#[test]
fn a_folder_does_not_hide_the_constitution_of_its_name() {
    let place = place();
    std::fs::create_dir(place.path("minimal")).unwrap();
    place
        .scripted(&["run", "p.jsonl", "-c", "minimal"])
        .success();
}

#[test]
fn a_log_setting_that_cannot_be_read_is_told_and_an_empty_one_is_none() {
    let place = place();
    for (setting, told) in [("amend=nonsense", true), ("", false), ("warn", false)] {
        let output = place
            .command(["model", "list"])
            .env("AMEND_LOG", setting)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stderr.contains("AMEND_LOG"), told, "{setting}: {stderr}");
    }
}

#[test]
fn a_run_whose_reader_goes_away_is_done_all_the_same() {
    let place = place();
    let mut child = place
        .command(
            [
                RUN,
                &["--json", "--backend", "scripted", "--script", "script.yaml"],
            ]
            .concat(),
        )
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let runs = place.amend(&["runs", "--json"]).success().json_lines();
    assert_eq!(
        (runs[0]["state"].as_str(), runs[0]["done"].as_u64()),
        (Some("done"), Some(2))
    );
}

#[test]
fn a_run_is_continued_from_another_folder() {
    let place = place();
    place
        .write(
            "mypack/pack.yaml",
            "name: mine\nversion: 1.0.0\ncritique: verdict\n",
        )
        .write("mypack/draft.yaml", "- include: conversation\n")
        .write(
            "mypack/critique.yaml",
            "- {role: user, content: '{{ response }} {{ principle.critique }}'}\n",
        )
        .write(
            "mypack/revision.yaml",
            "- {role: user, content: '{{ response }}'}\n",
        );
    place
        .scripted(&[RUN, &["--pack", "mypack"]].concat())
        .success();
    assert!(rusqlite_like(
        &place,
        "UPDATE runs SET state = 'interrupted'"
    ));
    let elsewhere = Place::new();
    let db = place.path("amend.db");
    elsewhere
        .amend(&["resume", "--db", db.to_str().unwrap()])
        .success();
}

#[test]
fn another_script_is_another_model_and_is_refused_on_retry() {
    let place = place();
    place.write("p.jsonl", "{\"prompt\": \"The sky?\"}\n");
    place.write(
        "script.yaml",
        "rules:\n  - {verdict: false, times: 1, error: out of order}\n",
    );
    place.scripted(RUN).code(3);
    place.amend(&["resume", "--retry-errors"]).code(3);
    // The script fails each process's first draft, so a chain that has its draft goes through.
    let rows = place.amend(&["ls", "--json"]).success().json_lines();
    assert_eq!(rows[0]["status"], "failed");
    place.write("script.yaml", "rules: []\n");
    let refused = place.amend(&["resume", "--retry-errors"]).code(2);
    refused.complains(&["model: b3:", "--new"]);
}

#[test]
fn what_a_model_writes_is_never_a_template() {
    let place = place();
    place.write(
        "script.yaml",
        "rules:\n  - {verdict: false, reply: 'See {{ prompt }} and {% broken'}\n",
    );
    place.write(
        "c.yaml",
        "schema: 1\nname: t\nprinciples:\n  - {id: a, critique: 'Is this good: {{ response }}?', revision: Mend it.}\n",
    );
    place
        .scripted(&["run", "p.jsonl", "-c", "c.yaml"])
        .success();
    let row = &place
        .amend(&["ls", "prompt:sky", "--json"])
        .success()
        .json_lines()[0];
    let id = row["chain_id"].as_str().unwrap();
    let shown = place.amend(&["show", id, "--json"]).success().stdout;
    assert!(
        shown.contains("Is this good: See {{ prompt }} and {% broken?"),
        "{shown}"
    );
}

//! `amend push` against a server in the test that stands in for the Hub.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use server::{HEAD, Server, State};

/// A folder that looks as if an export had written it.
struct Dataset {
    folder: tempfile::TempDir,
}

impl Dataset {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut entries = Vec::new();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
            entries.push(json!({
                "name": name, "lines": 1, "bytes": bytes.len(), "sha256": sha256(bytes),
                "b3": format!("b3:{}", blake3::hash(bytes).to_hex()),
            }));
        }
        let manifest = json!({
            "generator": "amend", "amend_version": "0", "format": "trl-sft", "all_rounds": false, "filter": "",
            "run": null, "chains": 1, "rows": 3, "dropped": {}, "flags": {}, "files": entries, "runs": []
        });
        fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn manifest(&self) -> Vec<u8> {
        fs::read(self.path().join("manifest.json")).unwrap()
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn push(server: &Server, folder: &Path, token: Option<&str>, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amend"));
    command
        .args(["push", "hf:someone/pairs", "--from"])
        .arg(folder)
        .args(more)
        .env("HF_ENDPOINT", server.address())
        .env("HF_HOME", folder.join("no-such-folder"))
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .env("NO_COLOR", "1");
    if let Some(token) = token {
        command.env("HF_TOKEN", token);
    }
    command.output().unwrap()
}

fn succeed(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn fail(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no `{word}` in: {stderr}");
    }
    assert!(
        !stderr.contains("secret-token") && !stderr.contains("panicked"),
        "{stderr}"
    );
}

const TOKEN: &str = "secret-token";

fn three_files() -> (Dataset, Vec<u8>) {
    let rows: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
    let dataset = Dataset::new(&[
        ("README.md", b"---\nlicense: mit\n---\n"),
        ("data/train-00000-of-00001.parquet", &rows),
        ("dropped.jsonl", b""),
    ]);
    (dataset, rows)
}

#[test]
fn a_whole_upload_arrives_with_one_commit() {
    let (dataset, rows) = three_files();
    let server = Server::start(State::new(TOKEN));
    let output = push(
        &server,
        &dataset.path(),
        Some(TOKEN),
        &["--private", "--json"],
    );
    let pushed: Value = serde_json::from_str(&succeed(&output)).unwrap();
    assert_eq!(
        pushed["url"],
        format!("{}/datasets/someone/pairs", server.address())
    );
    assert_eq!(
        (pushed["files"].as_u64(), pushed["deleted"].as_u64()),
        (Some(4), Some(0))
    );
    let state = server.state();
    assert_eq!(state.created["organization"], "someone");
    assert_eq!(
        (&state.created["type"], &state.created["visibility"]),
        (&json!("dataset"), &json!("private"))
    );
    assert_eq!(state.commits.len(), 1);
    let commit = &state.commits[0];
    assert_eq!(commit.parent, HEAD);
    assert!(
        commit.summary.contains("3 rows as trl-sft"),
        "{}",
        commit.summary
    );
    assert_eq!(commit.files["README.md"], b"---\nlicense: mit\n---\n");
    assert_eq!(commit.files["data/train-00000-of-00001.parquet"], rows);
    assert_eq!(commit.files["dropped.jsonl"], b"");
    assert_eq!(commit.files["manifest.json"], dataset.manifest());
    // The token went to the Hub and not to the store of large files.
    assert!(
        state
            .seen
            .iter()
            .filter(|seen| !seen.at_store)
            .all(|seen| seen.token.as_deref() == Some(TOKEN))
    );
    assert!(
        state
            .seen
            .iter()
            .filter(|seen| seen.at_store)
            .all(|seen| seen.token.is_none())
    );
    assert!(state.verified.contains(&sha256(&rows)));
}

#[test]
fn large_files_go_in_parts_where_the_hub_wants_that() {
    let (dataset, rows) = three_files();
    let mut state = State::new(TOKEN);
    state.chunk = Some(6000);
    let server = Server::start(state);
    succeed(&push(&server, &dataset.path(), Some(TOKEN), &[]));
    let state = server.state();
    assert_eq!(state.parts, 4);
    assert_eq!(
        state.commits[0].files["data/train-00000-of-00001.parquet"],
        rows
    );
}

#[test]
fn without_a_token_or_with_a_wrong_one_nothing_is_sent() {
    let (dataset, _) = three_files();
    let server = Server::start(State::new(TOKEN));
    fail(
        &push(&server, &dataset.path(), None, &[]),
        2,
        &["no access token", "HF_TOKEN"],
    );
    let wrong = push(&server, &dataset.path(), Some("wrong"), &[]);
    fail(
        &wrong,
        1,
        &[
            "refuses the token (401)",
            "Invalid username or password",
            "someone/pairs",
        ],
    );
    assert!(server.state().commits.is_empty());
}

#[test]
fn an_upload_that_was_cut_off_goes_on_where_it_stopped() {
    let (mut files, mut all) = (Vec::new(), Vec::new());
    for index in 0..3_u8 {
        all.push((
            format!("data/train-0000{index}-of-00003.parquet"),
            vec![index + 1; 9000],
        ));
    }
    for (name, bytes) in &all {
        files.push((name.as_str(), bytes.as_slice()));
    }
    let dataset = Dataset::new(&files);
    let mut state = State::new(TOKEN);
    // The third file never arrives, whatever is tried.
    state.refuse_from = Some(2);
    let server = Server::start(state);
    let output = push(&server, &dataset.path(), Some(TOKEN), &[]);
    fail(
        &output,
        1,
        &[
            "cannot upload",
            "trying again: 503",
            "the same command goes on from there",
        ],
    );
    let mut state = server.state();
    assert_eq!((state.stored.len(), state.commits.len()), (2, 0));
    state.refuse_from = None;
    drop(state);
    let output = push(&server, &dataset.path(), Some(TOKEN), &[]);
    succeed(&output);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr.matches("is there already").count(), 2, "{stderr}");
    assert_eq!(stderr.matches("uploading data/").count(), 1, "{stderr}");
    assert_eq!(server.state().commits.len(), 1);
}

#[test]
fn a_token_for_a_repository_that_is_there_need_not_make_one() {
    let (dataset, _) = three_files();
    let mut state = State::new(TOKEN);
    state.may_not_make = true;
    let server = Server::start(state);
    succeed(&push(&server, &dataset.path(), Some(TOKEN), &[]));
    assert_eq!(server.state().commits.len(), 1);
}

#[test]
fn busy_answers_are_waited_out() {
    let (dataset, _) = three_files();
    let mut state = State::new(TOKEN);
    state.busy = vec![503, 429, 500];
    let server = Server::start(state);
    let output = push(&server, &dataset.path(), Some(TOKEN), &[]);
    succeed(&output);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr.matches("trying again").count(), 3, "{stderr}");
}

#[test]
fn what_somebody_else_committed_meanwhile_is_not_overwritten() {
    let (dataset, _) = three_files();
    let mut state = State::new(TOKEN);
    state.moved = true;
    let server = Server::start(state);
    let output = push(&server, &dataset.path(), Some(TOKEN), &[]);
    fail(
        &output,
        1,
        &[
            "someone/pairs was changed while this was being pushed",
            "push again",
        ],
    );
    assert!(server.state().commits.is_empty());
}

#[test]
fn a_commit_whose_answer_was_lost_is_recognised() {
    let (dataset, _) = three_files();
    let mut state = State::new(TOKEN);
    state.lose_commit_answer = true;
    let server = Server::start(state);
    let output = push(&server, &dataset.path(), Some(TOKEN), &[]);
    let stdout = succeed(&output);
    assert!(stdout.contains("/commit/"), "{stdout}");
    assert_eq!(server.state().commits.len(), 1);
}

#[test]
fn a_second_push_deletes_what_the_first_one_brought_and_nothing_else() {
    let first = Dataset::new(&[
        ("data/train-00001-of-00002.parquet", b"old"),
        ("README.md", b"a"),
    ]);
    let (second, _) = three_files();
    let server = Server::start(State::new(TOKEN));
    succeed(&push(&server, &first.path(), Some(TOKEN), &[]));
    server
        .state()
        .tree
        .insert("notes.md".to_owned(), b"by hand".to_vec());
    let output = push(&server, &second.path(), Some(TOKEN), &[]);
    assert!(succeed(&output).contains("1 of an earlier push deleted"));
    let state = server.state();
    assert_eq!(
        state.commits[1].deleted,
        ["data/train-00001-of-00002.parquet"]
    );
    assert!(state.tree.contains_key("notes.md"));
}

#[test]
fn what_the_repository_ignores_is_left_out_and_said() {
    const ROWS: &str = "data/train-00000-of-00001.parquet";
    let (dataset, _) = three_files();
    let mut state = State::new(TOKEN);
    state.ignored = Some(ROWS);
    let server = Server::start(state);
    let output = push(&server, &dataset.path(), Some(TOKEN), &["--json"]);
    let pushed: Value = serde_json::from_str(&succeed(&output)).unwrap();
    assert_eq!(pushed["files"], 3);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains(&format!("{ROWS} is left out")) && !stderr.contains("uploading"),
        "{stderr}"
    );
    let state = server.state();
    assert!(state.stored.is_empty() && !state.commits[0].files.contains_key(ROWS));
}

#[test]
fn a_folder_that_was_changed_is_not_pushed() {
    let (dataset, _) = three_files();
    fs::write(dataset.path().join("README.md"), "edited").unwrap();
    let server = Server::start(State::new(TOKEN));
    let output = push(&server, &dataset.path(), Some(TOKEN), &[]);
    fail(
        &output,
        2,
        &["README.md", "bytes in place of", "amend verify"],
    );
    let empty = tempfile::tempdir().unwrap();
    fail(
        &push(&server, empty.path(), Some(TOKEN), &[]),
        2,
        &["manifest.json"],
    );
    assert!(server.state().seen.is_empty());
}

//! Every way in which a prompt file can be good or bad.

use std::io::Write;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::generation::{Message, Role};

mod line_ends;
mod published;
mod tables;

/// A folder with one prompt file in it.
struct Fixture {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn fixture(name: &str, content: impl AsRef<[u8]>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    Fixture {
        _folder: folder,
        path,
    }
}

/// Everything that reading gave.
struct Outcome {
    prompts: Vec<Prompt>,
    skipped: Vec<Skipped>,
    error: Option<DatasetError>,
    counts: Counts,
    usable: Result<(), DatasetError>,
}

impl Outcome {
    fn texts(&self) -> Vec<&str> {
        self.prompts.iter().map(Prompt::text).collect()
    }

    /// The only skipped row: its line and reason.
    fn only_skip(&self) -> (u64, &str) {
        assert_eq!(self.skipped.len(), 1, "{:?}", self.skipped);
        (self.skipped[0].line, &self.skipped[0].reason)
    }
}

fn read_path(path: &Path, options: &ReadOptions) -> Result<Outcome, DatasetError> {
    let mut reader = open(path, options)?;
    let (mut prompts, mut skipped, mut error) = (Vec::new(), Vec::new(), None);
    for row in &mut reader {
        match row {
            Ok(Row::Prompt(prompt)) => prompts.push(prompt),
            Ok(Row::Skipped(skip)) => skipped.push(skip),
            Err(e) => error = Some(e),
        }
    }
    assert!(reader.next().is_none(), "nothing comes after the end");
    Ok(Outcome {
        prompts,
        skipped,
        error,
        counts: reader.counts(),
        usable: reader.require_rows(),
    })
}

fn read(name: &str, content: impl AsRef<[u8]>) -> Outcome {
    read_with(name, content, &ReadOptions::default())
}

fn read_with(name: &str, content: impl AsRef<[u8]>, options: &ReadOptions) -> Outcome {
    let file = fixture(name, content);
    let outcome = read_path(&file.path, options).unwrap();
    assert!(outcome.skipped.iter().all(|skip| skip.path == file.path));
    outcome
}

fn open_error(name: &str, content: impl AsRef<[u8]>) -> String {
    let file = fixture(name, content);
    let error = read_path(&file.path, &ReadOptions::default()).err();
    let message = error.expect("an error at opening").to_string();
    assert!(message.contains(name), "names the file: {message}");
    message
}

#[test]
fn jsonl_rows_carry_id_and_metadata() {
    let outcome = read(
        "p.jsonl",
        concat!(
            r#"{"id": "a", "prompt": "One?", "topic": "x", "n": {"deep": [1]}}"#,
            "\n\n",
            r#"{"prompt": "Two?", "id": 7}"#,
            "\n",
            r#"{"prompt": "Three?", "id": null}"#,
        ),
    );
    assert_eq!(outcome.texts(), ["One?", "Two?", "Three?"]);
    let ids: Vec<_> = outcome.prompts.iter().map(|p| p.id.0.as_str()).collect();
    let made = crate::prompt::PromptId::from_content(&[Message::user("Three?")]).0;
    assert_eq!(ids, ["a", "7", made.as_str()]);
    assert_eq!(
        Value::Object(outcome.prompts[0].metadata.clone()),
        json!({"topic": "x", "n": {"deep": [1]}})
    );
    assert_eq!(
        outcome.counts,
        Counts {
            rows: 3,
            ..Counts::default()
        }
    );
    assert!(outcome.usable.is_ok());
}

#[test]
fn conversations_end_with_the_user() {
    let conversation = |messages: Value| json!({"messages": messages}).to_string() + "\n";
    let good = conversation(json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
    ]));
    let outcome = read("p.jsonl", &good);
    let roles: Vec<_> = outcome.prompts[0].messages.iter().map(|m| m.role).collect();
    assert_eq!(
        roles,
        [Role::System, Role::User, Role::Assistant, Role::User]
    );
    assert_eq!(outcome.texts(), ["Why?"]);

    for (messages, words) in [
        (json!([]), "empty"),
        (json!("not a list"), "neither a list"),
        (
            json!([{"role": "assistant", "content": "x"}]),
            "end with the assistant",
        ),
        (
            json!([{"role": "tool", "content": "x"}]),
            "messages[0] has the role `tool`",
        ),
        (json!([{"content": "x"}]), "no role"),
        (json!([{"role": "user"}]), "content that is null"),
        (
            json!([{"role": "user", "content": ["x"]}]),
            "content that is a list",
        ),
        (json!(["hello"]), "messages[0] is a string"),
        (
            json!([{"role": "system", "content": " "}, {"role": "user", "content": "x"}]),
            "message 0 is blank",
        ),
    ] {
        let outcome = read("p.jsonl", conversation(messages));
        let (line, reason) = outcome.only_skip();
        assert_eq!(line, 1);
        assert!(reason.contains(words), "{reason}");
        assert!(outcome.usable.is_err());
    }
}

#[test]
fn a_prompt_may_be_a_list_of_messages_and_messages_may_be_json_text() {
    let list = json!([{"role": "user", "content": "Hi"}]);
    let rows = format!(
        "{}\n{}\n",
        json!({"prompt": list, "id": 1}),
        json!({"messages": list.to_string(), "prompt": null, "id": 2}),
    );
    let options = ReadOptions {
        keep_duplicates: true,
        ..ReadOptions::default()
    };
    let outcome = read_with("p.jsonl", rows, &options);
    assert_eq!(outcome.texts(), ["Hi", "Hi"]);
}

#[test]
fn broken_rows_are_named_and_the_rest_is_read() {
    let content = [
        r#"{"prompt": "good"}"#,
        r#"{"prompt": "cut"#,
        r#"["prompt"]"#,
        r#"{"question": "x", "answer": "y"}"#,
        r#"{"prompt": "   "}"#,
        r#"{"prompt": 5}"#,
        r#"{"prompt": "a\u0000b"}"#,
        r#"{"prompt": "x", "id": {}}"#,
        r#"{"prompt": "last"}"#,
    ]
    .join("\r\n");
    let outcome = read("p.jsonl", content);
    assert_eq!(outcome.texts(), ["good", "last"]);
    let expected = [
        (2, "broken JSON at column 15"),
        (3, "a list and not an object"),
        (4, "found `question`, `answer`"),
        (5, "blank"),
        (6, "a number and not a text"),
        (7, "NUL"),
        (8, "the id is an object"),
    ];
    assert_eq!(outcome.skipped.len(), expected.len());
    for (skip, (line, words)) in outcome.skipped.iter().zip(expected) {
        assert_eq!(skip.line, line);
        assert!(skip.reason.contains(words), "{skip}");
        let place = format!("p.jsonl:{line}: ");
        assert!(skip.to_string().contains(&place), "{skip}");
        assert!(skip.reason.contains("; "), "names a remedy: {skip}");
    }
    assert_eq!((outcome.counts.rows, outcome.counts.skipped), (2, 7));
}

#[test]
fn bytes_that_are_not_text_spoil_their_line_only() {
    for name in ["p.jsonl", "p.txt"] {
        let row = |text: &str| match name {
            "p.txt" => text.to_owned(),
            _ => json!({"prompt": text}).to_string(),
        };
        let mut content = b"\xef\xbb\xbf".to_vec();
        content.extend(row("first").bytes());
        content.extend(b"\n\"bad \xff\xfe\"\nnul \0\n");
        content.extend(row("last").bytes());
        let outcome = read(name, content);
        assert_eq!(outcome.texts(), ["first", "last"], "{name}");
        assert!(outcome.skipped[0].reason.contains("bad UTF-8 at byte 6"));
        assert!(outcome.skipped[1].reason.contains("NUL byte at byte 5"));
    }
}

#[test]
fn a_prompt_of_ten_megabytes_is_skipped() {
    let long = "x".repeat(10 << 20);
    for (name, content) in [
        (
            "p.jsonl",
            format!("{{\"prompt\": \"{long}\"}}\n{{\"prompt\": \"ok\"}}\n"),
        ),
        ("p.txt", format!("{long}\nok\n")),
        ("p.csv", format!("prompt\n\"{long}\n\"\nok\n")),
    ] {
        let outcome = read(name, content);
        assert_eq!(outcome.texts(), ["ok"], "{name}");
        assert!(outcome.only_skip().1.contains("shorten it"), "{name}");
    }
    // One that fits a line and is still too long for a prompt.
    let outcome = read("p.txt", format!("{}\nok\n", "x".repeat((1 << 20) + 1)));
    assert!(
        outcome
            .only_skip()
            .1
            .contains("1048577 bytes and 1048576 are allowed")
    );
}

#[test]
fn text_is_one_prompt_a_line_and_a_blank_line_is_reported() {
    let outcome = read("p.txt", "One?\r\n\r\nTwo?\n");
    assert_eq!(outcome.texts(), ["One?", "Two?"]);
    assert_eq!(outcome.only_skip().0, 2);
}

#[test]
fn csv_has_the_same_names_and_quoted_line_ends() {
    let content = "\u{feff}id,prompt,topic\r\n1,\"One,\nthen \"\"two\"\"?\",t\r\n,Three?,\r\n";
    let outcome = read("p.csv", content);
    assert_eq!(outcome.texts(), ["One,\nthen \"two\"?", "Three?"]);
    assert_eq!(outcome.prompts[0].id.0, "1");
    assert_eq!(outcome.prompts[0].metadata["topic"], "t");
    assert!(outcome.prompts[1].id.0.starts_with("p-"));
}

#[test]
fn ragged_csv_rows_are_named_by_the_line_they_start_on() {
    let outcome = read("p.csv", "prompt,topic\n\"a\nb\",t\nonly\nx,y,z\nc,t\n");
    assert_eq!(outcome.texts(), ["a\nb", "c"]);
    let lines: Vec<_> = outcome.skipped.iter().map(|skip| skip.line).collect();
    assert_eq!(lines, [4, 5]);
    assert!(
        outcome.skipped[1]
            .reason
            .contains("3 cells and the header 2")
    );
}

#[test]
fn csv_headers_that_cannot_hold_prompts_are_refused() {
    for (content, words) in [
        ("prompt,prompt\na,b\n", ":1: two columns are named `prompt`"),
        ("question,answer\na,b\n", "found `question`, `answer`"),
        ("prompt;topic\na;b\n", "separate the columns with commas"),
        ("\n\n", "no header"),
        ("prompt,\"open\n", "never closed"),
    ] {
        let message = open_error("p.csv", content);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_csv_conversation_is_json_text() {
    let outcome = read(
        "p.csv",
        "messages\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"Hi\"\"}]\"\n",
    );
    assert_eq!(outcome.texts(), ["Hi"]);
    let outcome = read("p.csv", "id,messages\n1,\n");
    assert!(outcome.only_skip().1.contains("`messages` is blank"));
    // Beside a column of prompts, of which a row uses one or the other.
    let outcome = read(
        "p.csv",
        "id,prompt,messages\n1,One?,\n2,,\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"Two?\"\"}]\"\n3,,\n",
    );
    assert_eq!(outcome.texts(), ["One?", "Two?"]);
    assert_eq!(outcome.only_skip().0, 4);
    assert!(outcome.only_skip().1.contains("blank"));
}

#[test]
fn a_number_that_would_be_rounded_is_no_id() {
    let outcome = read(
        "p.jsonl",
        concat!(
            "{\"prompt\": \"One?\", \"id\": 18446744073709551615}\n",
            "{\"prompt\": \"Two?\", \"id\": 18446744073709551616}\n",
            "{\"prompt\": \"Three?\", \"id\": -9223372036854775808}\n",
            "{\"prompt\": \"Four?\", \"id\": 2.5}\n",
        ),
    );
    let ids: Vec<_> = outcome.prompts.iter().map(|p| p.id.0.as_str()).collect();
    assert_eq!(ids, ["18446744073709551615", "-9223372036854775808", "2.5"]);
    let (line, reason) = outcome.only_skip();
    assert!(
        line == 2 && reason.contains("write it as a string"),
        "{reason}"
    );
}

#[test]
fn another_field_can_hold_the_prompt() {
    let options = ReadOptions {
        prompt_field: "question".to_owned(),
        ..ReadOptions::default()
    };
    let outcome = read_with(
        "p.jsonl",
        "{\"question\": \"Q\", \"prompt\": \"P\"}\n{\"prompt\": \"P\"}\n",
        &options,
    );
    assert_eq!(outcome.texts(), ["Q"]);
    assert_eq!(outcome.prompts[0].metadata["prompt"], "P");
    assert!(outcome.only_skip().1.contains("no field `question`"));
}

#[test]
fn duplicates_are_kept_once_unless_asked_for() {
    let content = "a\nb\na\na\n";
    let outcome = read("p.txt", content);
    assert_eq!(outcome.texts(), ["a", "b"]);
    assert_eq!(outcome.counts.duplicates, 2);
    let options = ReadOptions {
        keep_duplicates: true,
        ..ReadOptions::default()
    };
    let outcome = read_with("p.txt", content, &options);
    assert_eq!(outcome.texts(), ["a", "b", "a", "a"]);
    let mut ids: Vec<_> = outcome.prompts.iter().map(|p| p.id.0.clone()).collect();
    assert_eq!(ids[2], format!("{}-2", ids[0]));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn an_id_with_two_contents_is_skipped_by_name() {
    let outcome = read(
        "p.jsonl",
        "{\"id\": \"x\", \"prompt\": \"a\"}\n{\"id\": \"x\", \"prompt\": \"b\"}\n",
    );
    let (line, reason) = outcome.only_skip();
    assert_eq!(line, 2);
    assert!(reason.contains("`x`"), "{reason}");
}

#[test]
fn strict_reading_stops_at_the_first_bad_row() {
    let options = ReadOptions {
        strict: true,
        ..ReadOptions::default()
    };
    let outcome = read_with("p.txt", "a\n\nb\n", &options);
    assert_eq!(outcome.texts(), ["a"]);
    let message = outcome.error.unwrap().to_string();
    assert!(message.contains("p.txt:2: ") && message.contains("--strict"));
    // A duplicate is no fault.
    assert!(read_with("p.txt", "a\na\n", &options).error.is_none());
}

#[test]
fn a_file_without_a_usable_row_says_why() {
    let outcome = read("p.jsonl", "nonsense\n\"more\"\n");
    let message = outcome.usable.unwrap_err().to_string();
    assert!(message.contains("2 skipped") && message.contains("p.jsonl:1: broken JSON"));
    // Nothing but a byte order mark, blank lines, or a header.
    for (name, content) in [
        ("p.jsonl", "\u{feff}"),
        ("p.jsonl", "\n\n"),
        ("p.csv", "prompt\n"),
    ] {
        let told = read(name, content).usable.unwrap_err().to_string();
        assert!(told.contains("there is no row in it; write"), "{told}");
    }
}

#[test]
fn paths_that_are_not_prompt_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| {
        let error = open(path, &ReadOptions::default()).err().unwrap();
        error.to_string()
    };
    assert!(refused(&folder.path().join("none.jsonl")).contains("none.jsonl: cannot be opened"));
    let inner = folder.path().join("d.jsonl");
    std::fs::create_dir(&inner).unwrap();
    assert!(refused(&inner).contains("is a folder"));
    assert!(open_error("p.jsonl", "").contains("empty"));
    assert!(open_error("p.json", "{}").contains(".jsonl, .csv, .txt or .parquet"));
    assert!(open_error("p", "x").contains(".jsonl, .csv, .txt or .parquet"));
    assert!(open_error("p.txt", b"\xff\xfea\0").contains("UTF-16"));
}

#[test]
fn the_digest_is_that_of_the_bytes() {
    let content = vec![b'x'; 200_000];
    let file = fixture("p.txt", &content);
    assert_eq!(digest(&file.path).unwrap(), Digest::of_bytes(&content));
    assert!(digest(&file.path.with_extension("none")).is_err());
}

#[test]
fn a_file_is_streamed_and_not_read_at_once() {
    for (name, header) in [("p.jsonl", ""), ("p.txt", ""), ("p.csv", "prompt\n")] {
        let row = |number: usize| match name {
            "p.jsonl" => json!({"prompt": format!("Number {number}?")}).to_string() + "\n",
            _ => format!("Number {number}?\n"),
        };
        let rows: String = (0..20_000).map(row).collect();
        let file = fixture(name, format!("{header}{rows}"));
        let mut reader = open(&file.path, &ReadOptions::default()).unwrap();
        assert!(matches!(reader.next(), Some(Ok(Row::Prompt(_)))));
        assert_eq!(reader.counts().rows, 1);
        // What is written behind the reader's buffer is still seen.
        let mut end = std::fs::OpenOptions::new()
            .append(true)
            .open(&file.path)
            .unwrap();
        end.write_all(row(20_000).as_bytes()).unwrap();
        assert_eq!(reader.by_ref().count(), 20_000, "{name}");
        assert_eq!(reader.counts().rows, 20_001);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_read_without_a_panic(
        content in prop_oneof![
            prop::collection::vec(any::<u8>(), 1..400),
            // Bytes that the formats give a meaning to, so that the readers get further.
            prop::collection::vec(prop::sample::select(&b"\"\n\r,{}[]:\\ aprompt\xef\xbb\xbf\0\xff"[..]), 1..400)
                .prop_map(|tail| [b"prompt,id\n".as_slice(), &tail].concat()),
        ],
        strict in any::<bool>(),
        keep_duplicates in any::<bool>(),
        max_line_bytes in 1_usize..64,
    ) {
        let options = ReadOptions { strict, keep_duplicates, max_line_bytes, ..ReadOptions::default() };
        for name in ["p.jsonl", "p.csv", "p.txt", "p.parquet"] {
            let file = fixture(name, &content);
            let Ok(outcome) = read_path(&file.path, &options) else { continue };
            let mut ids: Vec<_> = outcome.prompts.iter().map(|p| &p.id).collect();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), outcome.prompts.len(), "ids are unique");
            prop_assert!(outcome.prompts.iter().all(|p| !p.text().trim().is_empty()));
        }
    }
}

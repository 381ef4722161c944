//! Labelled comparisons: files that say which of two responses is the better one.
//!
//! A row has one of two forms. `prompt`, `chosen` and `rejected` are a request and two responses, as
//! trainers read them. `prompt`, `corrects` and `incorrects` are a whole question and the answers to it,
//! such as `" (A)"`, as in the published HHH evaluation.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::jsonl::Rows;
use super::row::{Content, check, describe, read_messages, shown};
use super::{DatasetError, ReadOptions, Skipped, check_path, extension, open_file, unusable};
use crate::generation::{Message, Role};

/// A row that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// Its line, from 1.
    pub line: u64,
    /// What it compares.
    pub compared: Compared,
}

/// What a row compares.
#[derive(Clone, Debug, PartialEq)]
pub enum Compared {
    /// Two responses.
    Responses {
        /// What they respond to; ends with the user.
        conversation: Vec<Message>,
        /// The better one.
        chosen: String,
        /// The other one.
        rejected: String,
    },
    /// A question with answers, complete as it stands.
    Question(Posed),
}

/// A question as a file poses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Posed {
    /// The question; ends with the user.
    pub conversation: Vec<Message>,
    /// The answers, in the order of the alphabet: that of (A) and (B).
    pub answers: Vec<String>,
    /// Which of them are right.
    pub right: Vec<bool>,
    /// The question with what its two answers stand for exchanged, and how long that is in characters for
    /// each answer of the question as it stands; `None` where the file does not mark it with `[[[` and `]]]`.
    pub exchanged: Option<(Vec<Message>, [usize; 2])>,
}

/// The rows of a labelled file, those that cannot be used among them. Nothing comes after an error.
pub struct LabelledReader {
    path: PathBuf,
    rows: Rows,
    max_bytes: usize,
    failed: bool,
}

/// Opens a file of labelled comparisons: JSON Lines.
///
/// # Errors
///
/// When the file is missing, empty, or no JSON Lines file by its name.
pub fn open_labelled(path: &Path) -> Result<LabelledReader, DatasetError> {
    check_path(path, "comparison")?;
    if !matches!(extension(path).as_deref(), Some("jsonl" | "ndjson")) {
        return Err(unusable(
            path,
            "is not a .jsonl file; labelled comparisons are JSON objects, one a line",
        ));
    }
    let options = ReadOptions::default();
    Ok(LabelledReader {
        rows: Rows::open(path, open_file(path)?, &options)?,
        path: path.to_owned(),
        max_bytes: options.max_prompt_bytes,
        failed: false,
    })
}

impl Iterator for LabelledReader {
    type Item = Result<Result<Labelled, Skipped>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => {
                self.failed = true;
                return Some(Err(error));
            }
        };
        let line = row.line;
        let compared = row.content.and_then(|content| match content {
            Content::Fields(fields) => read(fields, self.max_bytes),
            Content::Text(_) => Err("the line is no object".to_owned()),
        });
        Some(Ok(match compared {
            Ok(compared) => Ok(Labelled { line, compared }),
            Err(reason) => Err(Skipped {
                path: self.path.clone(),
                line,
                reason,
            }),
        }))
    }
}

fn read(mut fields: Map<String, Value>, max_bytes: usize) -> Result<Compared, String> {
    let there = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    match (
        there("corrects") || there("incorrects"),
        there("chosen") || there("rejected"),
    ) {
        (true, false) => question(&mut fields, max_bytes).map(Compared::Question),
        (false, true) => responses(&mut fields, max_bytes),
        (true, true) => {
            Err("the row has both `corrects` and `chosen`; leave one form out".to_owned())
        }
        (false, false) => {
            let names: Vec<_> = fields.keys().take(20).map(|name| shown(name)).collect();
            Err(format!(
                "found {}; a row has `prompt`, `chosen` and `rejected`, or `prompt`, `corrects` and `incorrects`",
                match names.is_empty() {
                    true => "no fields".to_owned(),
                    false => names.join(", "),
                }
            ))
        }
    }
}

fn question(fields: &mut Map<String, Value>, max_bytes: usize) -> Result<Posed, String> {
    let conversation = prompt_of(fields)?;
    check(&conversation, max_bytes)?;
    let mut answers = Vec::new();
    for (name, right) in [("corrects", true), ("incorrects", false)] {
        let texts = texts(fields, name)?;
        answers.extend(texts.into_iter().map(|text| (text, right)));
    }
    answers.sort();
    if let Some(pair) = answers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!(
            "the answer {} occurs twice; every answer is given once",
            shown(&pair[0].0)
        ));
    }
    let names: Vec<&str> = answers.iter().map(|(text, _)| text.as_str()).collect();
    let exchanged = match (conversation.split_last(), names.as_slice()) {
        (Some((last, before)), [first, second]) => {
            exchange(&last.content, first, second).map(|(text, lengths)| {
                let last = Message::user(text);
                let messages = before.iter().cloned().chain([last]).collect();
                (messages, lengths)
            })
        }
        _ => None,
    };
    let (answers, right) = answers.into_iter().unzip();
    Ok(Posed {
        conversation,
        answers,
        right,
        exchanged,
    })
}

/// The answers of one field: a list of texts, or one text; white space around them does not count.
fn texts(fields: &mut Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let value = fields.shift_remove(name).unwrap_or(Value::Null);
    let items = match value {
        Value::Array(items) => items,
        Value::String(text) => vec![Value::String(text)],
        other => {
            return Err(format!(
                "`{name}` is {}; write a list of answers such as [\" (A)\"]",
                describe(&other)
            ));
        }
    };
    if items.is_empty() {
        return Err(format!(
            "`{name}` is empty; write a list of answers such as [\" (A)\"]"
        ));
    }
    items
        .into_iter()
        .map(|item| match item {
            Value::String(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Value::String(_) => Err(format!("an answer of `{name}` is blank; fill or delete it")),
            other => Err(format!(
                "an answer of `{name}` is {}; use a text",
                describe(&other)
            )),
        })
        .collect()
}

/// Exchanges what stands between `[[[` and `]]]` behind the first and the second answer. Only where the
/// marks leave no doubt: two of each, in turn, each pair behind its answer.
fn exchange(prompt: &str, first: &str, second: &str) -> Option<(String, [usize; 2])> {
    let (head, rest) = prompt.split_once("[[[")?;
    let (one, rest) = rest.split_once("]]]")?;
    let (between, rest) = rest.split_once("[[[")?;
    let (two, tail) = rest.split_once("]]]")?;
    let clean = [head, one, between, two, tail]
        .iter()
        .all(|part| !part.contains("[[[") && !part.contains("]]]"));
    if !clean || !head.trim_end().ends_with(first) || !between.trim_end().ends_with(second) {
        return None;
    }
    let exchanged = format!("{head}[[[{two}]]]{between}[[[{one}]]]{tail}");
    Some((exchanged, [one.chars().count(), two.chars().count()]))
}

fn responses(fields: &mut Map<String, Value>, max_bytes: usize) -> Result<Compared, String> {
    let (before, chosen) = response(fields, "chosen")?;
    let (other, rejected) = response(fields, "rejected")?;
    if !before.is_empty() && !other.is_empty() && before != other {
        return Err(
            "`chosen` and `rejected` respond to different messages; give both the same".to_owned(),
        );
    }
    let has_prompt = fields.get("prompt").is_some_and(|value| !value.is_null());
    let conversation = match (has_prompt, before.is_empty()) {
        (false, false) => before,
        _ => prompt_of(fields)?,
    };
    check(&conversation, max_bytes)?;
    for (name, text) in [("chosen", &chosen), ("rejected", &rejected)] {
        if text.len() > max_bytes {
            return Err(format!(
                "`{name}` has {} bytes and {max_bytes} are allowed; shorten it",
                text.len()
            ));
        }
        if text.contains('\0') {
            return Err(format!("`{name}` holds a NUL character; remove it"));
        }
    }
    if chosen.trim() == rejected.trim() {
        return Err("`chosen` and `rejected` are the same; there is nothing to compare".to_owned());
    }
    Ok(Compared::Responses {
        conversation,
        chosen,
        rejected,
    })
}

/// A response, and the conversation before it where the field holds that too.
fn response(fields: &mut Map<String, Value>, name: &str) -> Result<(Vec<Message>, String), String> {
    let mut messages = match fields.shift_remove(name) {
        Some(Value::String(text)) => return Ok((Vec::new(), text)),
        Some(Value::Array(items)) => read_messages(items, name)?,
        Some(message @ Value::Object(_)) => read_messages(vec![message], name)?,
        other => {
            return Err(format!(
                "`{name}` is {}; use a text or a list of messages",
                describe(&other.unwrap_or(Value::Null))
            ));
        }
    };
    match messages.pop() {
        Some(last) if last.role == Role::Assistant => Ok((messages, last.content)),
        Some(last) => Err(format!(
            "`{name}` ends with the {}; end it with the assistant",
            last.role.as_str()
        )),
        None => Err(format!(
            "`{name}` is an empty list; end it with the assistant"
        )),
    }
}

fn prompt_of(fields: &mut Map<String, Value>) -> Result<Vec<Message>, String> {
    match fields.shift_remove("prompt") {
        Some(Value::String(text)) => Ok(vec![Message::user(text.trim())]),
        Some(Value::Array(items)) => read_messages(items, "prompt"),
        None | Some(Value::Null) => Err("the row has no `prompt`; add one".to_owned()),
        Some(other) => Err(format!(
            "`prompt` is {}; use a text or a list of messages",
            describe(&other)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(row: &str) -> Result<Compared, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, row).unwrap();
        let mut rows = open_labelled(&path).unwrap();
        let first = rows.next().unwrap().unwrap();
        assert!(rows.next().is_none());
        match first {
            Ok(row) => {
                assert_eq!(row.line, 1);
                Ok(row.compared)
            }
            Err(skipped) => Err(skipped.reason),
        }
    }

    #[test]
    fn questions_have_answers_and_their_meanings_are_exchanged() {
        let row = r#"{"prompt": "\n\nWhich? Options:\n (A) [[[yes, sure]]]\n (B) [[[no]]]\n\nThe answer is:",
            "corrects": [" (B)"], "incorrects": [" (A)"]}"#
            .replace('\n', " ");
        let Ok(Compared::Question(posed)) = one(&row) else {
            panic!("{:?}", one(&row));
        };
        assert_eq!(posed.answers, ["(A)", "(B)"]);
        assert_eq!(posed.right, [false, true]);
        let (exchanged, lengths) = posed.exchanged.unwrap();
        assert_eq!(lengths, [9, 2]);
        assert_eq!(
            exchanged[0].content,
            "Which? Options:\n (A) [[[no]]]\n (B) [[[yes, sure]]]\n\nThe answer is:"
        );
    }

    #[test]
    fn a_question_as_messages_is_exchanged_in_the_last_one() {
        let row = r#"{"prompt": [{"role": "system", "content": "Be fair. (A) [[[x]]] (B) [[[y]]]"},
            {"role": "user", "content": "Which? (A) [[[yes]]] (B) [[[no]]]"}],
            "corrects": [" (A)"], "incorrects": [" (B)"]}"#
            .replace('\n', " ");
        let Ok(Compared::Question(posed)) = one(&row) else {
            panic!("{:?}", one(&row));
        };
        let (exchanged, lengths) = posed.exchanged.unwrap();
        assert_eq!(lengths, [3, 2]);
        assert_eq!(exchanged[0], posed.conversation[0]);
        assert_eq!(
            exchanged[1..],
            [Message::user("Which? (A) [[[no]]] (B) [[[yes]]]")]
        );
    }

    #[test]
    fn doubtful_marks_exchange_nothing() {
        for prompt in [
            "Which? (A) yes (B) no",
            "(A) [[[a]]] (B) [[[b]]] or [[[c]]]",
            "(A) [[[a [[[ b]]] (B) [[[b]]]",
            "[[[a]]] (A) (B) [[[b]]]",
            "(B) [[[a]]] (A) [[[b]]]",
            "]]] (A) [[[a]]] (B) [[[b]]]",
        ] {
            assert_eq!(exchange(prompt, "(A)", "(B)"), None, "{prompt}");
        }
    }

    #[test]
    fn responses_are_read_in_the_shapes_of_trainers() {
        let expected = Compared::Responses {
            conversation: vec![Message::user("p")],
            chosen: "good".to_owned(),
            rejected: "bad".to_owned(),
        };
        let turn = |text: &str| format!(r#"{{"role": "assistant", "content": "{text}"}}"#);
        let (good, bad) = (turn("good"), turn("bad"));
        let user = r#"{"role": "user", "content": "p"}"#;
        for row in [
            r#"{"prompt": "p", "chosen": "good", "rejected": "bad", "more": 1}"#.to_owned(),
            format!(r#"{{"prompt": [{user}], "chosen": [{good}], "rejected": [{bad}]}}"#),
            format!(r#"{{"prompt": "p", "chosen": {good}, "rejected": {bad}}}"#),
            format!(r#"{{"chosen": [{user}, {good}], "rejected": [{user}, {bad}]}}"#),
        ] {
            assert_eq!(one(&row), Ok(expected.clone()), "{row}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (row, said) in [
            ("[1]", "is a list and not an object"),
            ("{\"prompt\"", "broken JSON"),
            ("{}", "no fields"),
            (
                r#"{"prompt": "p", "answer": 1}"#,
                "found `prompt`, `answer`",
            ),
            (r#"{"prompt": "p", "chosen": "a"}"#, "`rejected` is null"),
            (r#"{"chosen": "a", "rejected": "b"}"#, "no `prompt`"),
            (r#"{"prompt": "", "chosen": "a", "rejected": "b"}"#, "blank"),
            (
                r#"{"prompt": 7, "chosen": "a", "rejected": "b"}"#,
                "`prompt` is a number",
            ),
            (
                r#"{"prompt": "p", "chosen": "a", "rejected": " a "}"#,
                "the same",
            ),
            (
                r#"{"prompt": "p", "chosen": 1, "rejected": "a"}"#,
                "`chosen` is a number",
            ),
            (
                r#"{"chosen": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a"}],
                "rejected": [{"role": "user", "content": "y"}, {"role": "assistant", "content": "b"}]}"#,
                "different messages",
            ),
            (
                r#"{"prompt": "p", "chosen": [], "rejected": "a"}"#,
                "empty list",
            ),
            (
                r#"{"prompt": "p", "chosen": [{"role": "user", "content": "x"}], "rejected": "a"}"#,
                "ends with the user",
            ),
            (
                r#"{"prompt": "p", "chosen": [{"role": "tool", "content": "x"}], "rejected": "a"}"#,
                "the role `tool`",
            ),
            (
                r#"{"prompt": "p", "corrects": [" (A)"]}"#,
                "`incorrects` is null",
            ),
            (
                r#"{"prompt": "p", "corrects": [], "incorrects": ["b"]}"#,
                "`corrects` is empty",
            ),
            (
                r#"{"prompt": "p", "corrects": [" "], "incorrects": ["b"]}"#,
                "is blank",
            ),
            (
                r#"{"prompt": "p", "corrects": [3], "incorrects": ["b"]}"#,
                "is a number",
            ),
            (
                r#"{"prompt": "p", "corrects": ["b "], "incorrects": ["b"]}"#,
                "occurs twice",
            ),
            (
                r#"{"prompt": "p", "corrects": ["a"], "incorrects": ["b"], "chosen": "x"}"#,
                "leave one form out",
            ),
            ("{\"prompt\": \"p\0\"}", "NUL"),
        ] {
            let error = one(&row.replace('\n', " ")).unwrap_err();
            assert!(error.contains(said), "{row}: {error}");
        }
    }
}

//! Laying a file out and what is found in it: wherever comments stand, they allow the same.

use std::path::Path;

use amend::constitution::layout::format;
use amend::constitution::{Code, SHIPPED};
use proptest::prelude::*;

use super::lint::{BASE, report};

/// Files in which comments are put everywhere. Each has warnings, and lines in an order and a layout of
/// their own.
const WRITTEN: [&str; 4] = [
    "\
name: n
principles:
- critique: Do not be rude. # amend: allow C054
  id: a
  revision: >
    Be polite,
    and do not shout.
  weight: 0
- {id: b, revision: Never shout., critique: Look for shouting and also for rude words.,
   weight: 0}
schema: 1
version: 1.0.0
",
    "\
name: n
principles:
  - revision: &mend Do not be rude.
    critique: &look >-
      Do not be rude, and also be kind.
    id: a

  - {id: b, critique: *look, revision: *mend, weight: 0}
",
    "\
---
name: n
extends: base.yaml
principles:
    - id: old
      weight: 2
      title: Old
    -
      critique: Never be rude.
      revision: Avoid rude words.
      check:
        max_words: 9
      tests: [

        ]
      id: c
...
",
    "\
{name: n, principles: [
  {id: a, critique: Do not be rude., weight: 0,
   revision: Never be rude.},
  {revision: Take out what is rude., critique: Do not shout., id: b}]}
",
];

/// What is found in a file, wherever it stands.
fn messages(text: &str) -> Vec<(Code, String)> {
    let report = report(&[("c.yaml", text), ("base.yaml", BASE)]);
    let messages = report.problems.into_iter().map(|p| (p.code, p.message));
    let mut messages: Vec<_> = messages.collect();
    messages.sort();
    messages
}

/// Whether a file could be laid out; what is found in it must be the same then.
fn is_laid_out(text: &str) -> bool {
    let Ok(laid_out) = format(Path::new("c.yaml"), text) else {
        return false;
    };
    assert_eq!(messages(text), messages(&laid_out), "{text}\n{laid_out}");
    true
}

const CODES: [&str; 9] = [
    "C050",
    "C051",
    "C052",
    "C053",
    "C055",
    "C056",
    "C057",
    "C058",
    "C053, C055 C058",
];

/// A file with a comment at a line: behind it, or before it with this indentation.
fn commented(text: &str, line: usize, indent: Option<usize>, codes: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let comment = format!("# amend: allow {codes}");
    match indent {
        Some(indent) => lines.insert(line, format!("{:indent$}{comment}", "")),
        None => lines[line].push_str(&format!(" {comment}")),
    }
    lines.join("\n") + "\n"
}

#[test]
fn laying_out_changes_no_finding_wherever_a_comment_stands() {
    for shipped in SHIPPED {
        assert!(is_laid_out(shipped.text));
    }
    let mut laid_out = 0;
    for text in WRITTEN {
        assert!(is_laid_out(text) && messages(text).len() > 2, "{text}");
        for line in 0..text.lines().count() {
            for indent in [None, Some(0), Some(2), Some(4), Some(6)] {
                for codes in CODES {
                    laid_out += usize::from(is_laid_out(&commented(text, line, indent, codes)));
                }
            }
        }
    }
    assert!(laid_out > 1000, "{laid_out}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn laying_out_changes_no_finding_of_many_comments(
        which in 0..WRITTEN.len(),
        comments in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::option::of(0..8usize), 0..CODES.len()),
            1..6,
        ),
    ) {
        let mut text = WRITTEN[which].to_owned();
        for (line, indent, codes) in comments {
            let line = line.index(text.lines().count());
            text = commented(&text, line, indent, CODES[codes]);
        }
        is_laid_out(&text);
    }
}

#[test]
fn what_cannot_stand_plainly_between_brackets_keeps_its_quotes() {
    let text = "\
name: n
principles:
  - id: a
    critique: Is it so?
    revision: So is it.
    tests:
      - {prompt: \"What is 5 -\", response: \"a - b\", expect: ok}
      - prompt: \"What is 5 -\"
        response: \"a - b\"
        expect: ok
";
    let expected = text
        .replace("\"a - b\"", "a - b")
        .replace("- prompt: \"What is 5 -\"", "- prompt: What is 5 -");
    let path = Path::new("c.yaml");
    assert_eq!(format(path, text).unwrap(), expected);
    assert_eq!(format(path, &expected).unwrap(), expected);
}

//! Merge keys (`<<`): refused, each with one finding that says what to write instead.

use amend::constitution::Code;

use super::lint::report;
use super::{with, wrong};

#[test]
fn merge_keys_are_refused_with_what_to_write_instead_and_nothing_is_missed_for_them() {
    let principle = "\
name: n
principles:
  - &a
    id: a
    critique: Look closely.
    revision: Mend it.
    tests:
      - &t {prompt: p, response: r, expect: ok}
      - {<<: *t, expect: violation}
  - <<: *a
    id: b
";
    let (problems, message) = wrong(principle);
    let unsupported = |line, column| (Code::Unsupported, line, column);
    assert_eq!(problems, [unsupported(9, 10), unsupported(10, 5)]);
    for words in ["merge keys (`<<`) are not read here", "*name", "`extends`"] {
        assert!(message.contains(words), "no `{words}` in: {message}");
    }
    // Name and principles may be in what was to be merged.
    for text in [
        "<<: {name: n}\nprinciples: [{id: a, critique: c, revision: r}]\n",
        "<<: {principles: [{id: a, critique: c, revision: r}]}\nname: n\n",
    ] {
        assert_eq!(wrong(text).0, [unsupported(1, 1)], "{text}");
    }
    // In a check, all of which is left out then, and in the defaults.
    let text = with("    check: {<<: {max_words: 3}}\n") + "defaults: {<<: {rounds: 2}}\n";
    assert_eq!(wrong(&text).0, [unsupported(7, 13), unsupported(8, 12)]);
}

#[test]
fn a_merge_key_is_one_finding_with_a_remedy_of_its_own() {
    let text = "\
name: n
principles:
  - &a
    id: a
    critique: Look for rude words.
    revision: Take out what is rude.
    tests: [{prompt: p, response: r, expect: ok}]
  - <<: *a
    id: b
";
    let report = report(&[("c.yaml", text)]);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let problem = &report.problems[0];
    let at = problem.span.map(|span| (span.line, span.column));
    assert_eq!((problem.code, at), (Code::Unsupported, Some((8, 5))));
    assert!(problem.remedy.contains("`extends`"));
}

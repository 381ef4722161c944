//! Warnings: each where it should be and nowhere else, and comments that allow them.

use std::io;
use std::path::Path;

use amend::constitution::lint::{Report, lint, lint_text};
use amend::constitution::{Code, Level, MODELINE, SHIPPED, starter};

pub fn report(files: &[(&str, &str)]) -> Report {
    let (root, text) = files[0];
    lint_text(Path::new(root), text, &mut |path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        let text = found.map(|(_, text)| (*text).to_owned());
        text.ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

fn found(text: &str) -> Vec<(Code, usize, usize)> {
    places(&report(&[("c.yaml", text)]))
}

fn places(report: &Report) -> Vec<(Code, usize, usize)> {
    let places = report.problems.iter().map(|problem| {
        assert!(!problem.remedy.is_empty() && !problem.message.is_empty());
        let span = problem.span.unwrap();
        (problem.code, span.line, span.column)
    });
    places.collect()
}

/// A principle that nothing is wrong with, and lines that are added to it. The critique is on line 5, the
/// revision on line 6, what is added begins on line 8.
fn with(critique: &str, revision: &str, more: &str) -> String {
    format!(
        "schema: 1\nname: n\nprinciples:\n  - id: a\n    critique: {critique}\n    revision: {revision}\n    \
         tests: [{{prompt: p, response: r, expect: ok}}]\n{more}"
    )
}

#[test]
fn each_warning_is_given_at_its_place() {
    use Code::*;
    let plain = with("Look for rude words.", "Take out what is rude.", "");
    assert_eq!(found(&plain), []);
    let critiques = [
        ("Is it rude? Does it give wrong figures?", TwoInOne, 27),
        ("Is it rude and does it give wrong figures?", TwoInOne, 26),
        ("Is the response rude and long?", TwoInOne, 31),
        ("Look for rude words and also for shouting.", TwoInOne, 35),
        ("Look for rude words. Also look for shouting.", TwoInOne, 36),
        ("The response must not be rude.", NegativeFraming, 28),
        ("Is the response kind, rude, and long?", TwoInOne, 31),
        ("Is the response rude or long?", TwoInOne, 31),
        (
            "Does the response give false facts and use rude words?",
            TwoInOne,
            50,
        ),
        ("It should be fair and it should be rude.", TwoInOne, 33),
        (
            "Point out false claims, and point out rude words.",
            TwoInOne,
            39,
        ),
        ("Do not be rude.", NegativeFraming, 15),
        ("Responses must not be rude.", NegativeFraming, 25),
        ("The response ought not to be rude.", NegativeFraming, 28),
        ("Make sure the response isn't rude.", NegativeFraming, 38),
        (
            "Write so that it does not hurt the rude.",
            NegativeFraming,
            32,
        ),
        ("No rude words.", NegativeFraming, 15),
        (
            "Choose the response that is least rude.",
            NegativeFraming,
            40,
        ),
        ("The answer should never be rude.", NegativeFraming, 26),
        (
            "'The response doesn''t use rude words.'",
            NegativeFraming,
            15,
        ),
        ("Look for loud letters.", Unrelated, 0),
        ("Is the assistant's last reply loud?", Unrelated, 0),
    ];
    for (critique, code, column) in critiques {
        let problems = found(&with(critique, "Take out what is rude.", ""));
        let place = if code == Unrelated {
            (6, 15)
        } else {
            (5, column)
        };
        assert_eq!(problems, [(code, place.0, place.1)], "{critique}");
    }
    for clean in [
        "A good response is polite and fair to others. Look for rude words.",
        "Look for a rude tone, for terms that are not explained, and for what it cannot know.",
        "Is the response rude?",
        "Look for a response that doesn't answer rude people.",
        "Is any of it rude? Look for rude words in every line.",
    ] {
        assert_eq!(
            found(&with(clean, "Take out what is rude.", "")),
            [],
            "{clean}"
        );
    }
    let long = format!("Look for rude words. {}", "Rude words hurt. ".repeat(110));
    let problems = found(&with(&long, "Take out what is rude.", ""));
    assert_eq!(problems, [(Long, 5, 15)]);
}

#[test]
fn warnings_about_other_fields() {
    use Code::*;
    let with = |more: &str| with("Look for rude words.", "Take out what is rude.", more);
    assert_eq!(found(&with("    weight: 0\n")), [(ZeroWeight, 8, 13)]);
    assert_eq!(found(&with("    weight: 0.5\n")), []);
    let draft = "    status: draft\n    weight: 0\n  - {id: b, check: {max_words: 9}, revision: r, tests: [{prompt: p, response: r, expect: ok}]}\n";
    assert_eq!(found(&with(draft)), []);
    let example = format!(
        "{{prompt: p, response: {}, critique: c, revision: r}}",
        "word ".repeat(900)
    );
    assert_eq!(
        found(&with(&format!("    examples: [{example}]\n"))),
        [(Long, 8, 15)]
    );

    let untested = with("").replace("    tests: [{prompt: p, response: r, expect: ok}]\n", "");
    assert_eq!(found(&untested), [(NoTests, 4, 9)]);
    assert_eq!(
        found(&untested.replace("id: a", "status: retired\n    id: a")),
        [(NoPrinciples, 4, 3)]
    );

    let twin = "  - id: b\n    critique: Look for very rude words.\n    revision: Make rude words kind.\n    tests: [{prompt: p, response: r, expect: ok}]\n";
    assert_eq!(found(&with(twin)), []);
    let twin = twin
        .replace("very rude", "rude")
        .replace("words.\n    revision", "words!\n    revision");
    assert_eq!(found(&with(&twin)), [(NearDuplicate, 9, 15)]);
}

pub const BASE: &str = "\
name: base
principles:
  - {id: a, critique: Look for rude words., revision: Take out what is rude.}
  - {id: old, critique: Look for shouting., revision: Never shout., status: retired, weight: 0}
";

#[test]
fn warnings_are_about_the_file_and_not_about_its_bases() {
    use Code::*;
    let root =
        |principles: &str| format!("name: n\nextends: [base.yaml]\nprinciples:\n{principles}");
    let places = |text: &str| places(&report(&[("c.yaml", text), ("base.yaml", BASE)]));
    assert_eq!(places(&root("  - {id: a, severity: minor}\n")), []);
    assert_eq!(
        places(&root("  - {id: a, weight: 0}\n")),
        [(ZeroWeight, 4, 21)]
    );
    assert_eq!(
        places(&root("  - {id: old, weight: 2}\n")),
        [(RetiredExtended, 4, 15)]
    );
    assert_eq!(places(&root("  - {id: old, rationale: It is old.}\n")), []);
    let revived = "  - {id: old, weight: 2, status: active}\n";
    assert_eq!(places(&root(revived)), []);
    let revision = "  - {id: a, revision: Shorten every sentence.}\n";
    assert_eq!(places(&root(revision)), [(Unrelated, 4, 23)]);
}

#[test]
fn a_comment_allows_a_warning_on_its_line_and_below() {
    use Code::*;
    let file = |head: &str, dash: &str, critique: &str| {
        format!(
            "{head}name: n\nprinciples:\n  {dash}- id: a\n    critique: Do not be rude.{critique}\n    revision: Be polite, not rude.\n"
        )
    };
    let both = [(NoTests, 3, 9), (NegativeFraming, 4, 15)];
    assert_eq!(found(&file("", "", "")), both);
    // Behind the line itself.
    assert_eq!(found(&file("", "", "  # amend: allow C055")), both[..1]);
    // Above the principle: everything in it.
    assert_eq!(
        found(&file("", "# amend: allow C055, no-tests because\n  ", "")),
        []
    );
    assert_eq!(
        found(&file("", "# amend: allow C050\n  # more\n\n  ", "")),
        [(NegativeFraming, 7, 15)]
    );
    // Before everything: the whole file.
    assert_eq!(
        found(&file("# amend: allow C050 negative-framing\n", "", "")),
        []
    );
    // At another line.
    let elsewhere =
        file("", "", "").replace("    revision", "    # amend: allow C055\n    revision");
    assert_eq!(found(&elsewhere), [both[0], both[1], (UselessAllow, 5, 5)]);
    // Text is no comment.
    let text = file("", "", "").replace("Do not be rude.", "'Do not be rude. # amend: allow C055'");
    assert_eq!(found(&text).len(), 2);
}

#[test]
fn what_an_alias_repeats_is_found_where_it_is_repeated() {
    use Code::*;
    let file = |behind: &str| {
        format!(
            "name: n\nprinciples:\n  - id: a\n    critique: &c Do not be rude.\n    revision: &r Be polite, not rude.\n    \
             tests: &t [{{prompt: p, response: r, expect: ok}}]\n  - id: b{behind}\n    critique: *c\n    revision: *r\n    \
             tests: *t\n"
        )
    };
    let first = (NegativeFraming, 4, 15);
    let repeated = [first, (NegativeFraming, 8, 15), (NearDuplicate, 8, 15)];
    assert_eq!(found(&file("")), repeated);
    // So a comment at one principle is about that one.
    assert_eq!(found(&file(" # amend: allow C055, C051")), [first]);
}

#[test]
fn comments_that_allow_nothing_are_named() {
    let message = |comment: &str| {
        let text = with(
            "Look for rude words.",
            "Take out what is rude.",
            &format!("    # amend: {comment}\n"),
        );
        let report = report(&[("c.yaml", &text)]);
        assert_eq!(report.count(Level::Warning), 1, "{comment}");
        assert_eq!(report.problems[0].code, Code::UselessAllow);
        report.problems[0].message.clone()
    };
    assert!(message("allow C050").contains("C050 (no-tests)"));
    assert!(message("allow C010").contains("cannot be allowed"));
    assert!(message("allow C999").contains("no code `C999`"));
    assert!(message("allow no-test").contains("did you mean `no-tests`"));
    assert!(message("allow").contains("no code is named"));
    assert!(message("deny C050").contains("`deny` is not known"));
}

#[test]
fn a_comment_before_the_first_key_is_about_the_whole_file() {
    let text = with("Do not be rude.", "Be polite, not rude.", "");
    assert_eq!(found(&text), [(Code::NegativeFraming, 5, 15)]);
    for head in [
        "# amend: allow C055\n",
        "--- # amend: allow C055\n",
        "---\n# amend: allow C055\n",
        "# amend: allow C055\n---\n",
        "# amend: allow C055\n# more\n\n--- # still more\n# and more\n",
    ] {
        assert_eq!(found(&format!("{head}{text}")), [], "{head}");
    }
    // Behind the document nothing follows.
    for end in ["# amend: allow C055\n", "...\n# amend: allow C055\n"] {
        let codes: Vec<_> = found(&format!("{text}{end}")).iter().map(|f| f.0).collect();
        assert_eq!(codes, [Code::NegativeFraming, Code::UselessAllow], "{end}");
    }
    // A list needs no indentation to be in `principles`.
    let flat = text.replace("\n  ", "\n");
    for (old, new) in [
        ("principles:", "principles: # amend: allow C055"),
        ("principles:", "# amend: allow C055\nprinciples:"),
        ("- id: a", "- id: a # amend: allow C055"),
        ("- id: a", "# amend: allow C055\n- id: a"),
    ] {
        assert_eq!(found(&flat.replace(old, new)), [], "{new}");
    }
}

#[test]
fn useless_comments_are_allowed_by_other_ones() {
    use Code::UselessAllow;
    let text = |head: &str, at: &str, behind: &str| {
        let text = with(
            "Look for rude words. # amend: allow C055",
            "Be polite, not rude.",
            "",
        );
        let text = text.replace("  - id: a", &format!("{at}  - id: a{behind}"));
        format!("{head}{text}")
    };
    assert_eq!(found(&text("", "", "")), [(UselessAllow, 5, 36)]);
    for (head, at, behind) in [
        ("# amend: allow C058\n", "", ""),
        ("", "  # amend: allow C058 until it is decided\n", ""),
        ("", "", " # amend: allow useless-allow"),
        ("# amend: allow C058\n", "", " # amend: allow C058"),
        ("", "  # amend: allow C054, C058\n", ""),
        ("", "  # amend: allow C999, C058\n", ""),
    ] {
        assert_eq!(found(&text(head, at, behind)), [], "{head}{at}{behind}");
    }
    let same = text("", "", "").replace("allow C055", "allow C055, C058");
    assert_eq!(found(&same), []);
    // Not itself, and not what stands elsewhere.
    let alone = with("Look for rude words.", "Be polite, not rude.", "");
    assert_eq!(
        found(&format!("# amend: allow C058\n{alone}")),
        [(UselessAllow, 1, 1)]
    );
    // Of two without another use one allows the other.
    let two = alone.replace("id: a", "id: a # amend: allow C058");
    assert_eq!(found(&format!("# amend: allow C058\n{two}")), []);
    let elsewhere = text("", "", "").replace("rude.\n", "rude. # amend: allow C058\n");
    let codes: Vec<_> = found(&elsewhere).iter().map(|f| f.0).collect();
    assert_eq!(codes, [UselessAllow, UselessAllow]);
}

#[test]
fn everything_wrong_is_found_at_once() {
    use Code::*;
    let text = "\
name: n
extends: [none.yaml, base.yaml]
extra: 1
principles:
  - id: a
    critique: ' '
    revision: Do not {{ respons }}.
    severity: mild
  - id: b
    critique: Look for rude words.
    check: {max_sentence: 3}
    tests: [{prompt: p}]
  - {id: b, critique: !x c}
";
    let report = report(&[("c.yaml", text), ("base.yaml", BASE)]);
    let codes: Vec<_> = report
        .problems
        .iter()
        .map(|p| (p.code, p.span.unwrap().line))
        .collect();
    let expected = [
        (ExtendsMissing, 2),
        (UnknownKey, 3),
        (EmptyText, 6),
        (UnknownVariable, 7),
        (BadValue, 8),
        (UnknownKey, 11),
        (MissingKey, 12),
        (MissingKey, 12),
        (DuplicateId, 13),
        (Unsupported, 13),
    ];
    for wanted in expected {
        assert!(codes.contains(&wanted), "{wanted:?} in {codes:?}");
    }
    // A principle without a revision may have one in the file that is missing.
    assert!(!codes.contains(&(MissingKey, 9)), "{codes:?}");
    assert!(report.digest.is_none());
}

#[test]
fn a_wrong_digest_is_found_beside_other_problems() {
    let pin = format!("b3:{}", "0".repeat(64));
    let text = format!("name: n\nextends: [base.yaml#{pin}]\nextra: 1\n");
    let codes: Vec<_> = report(&[("c.yaml", &text), ("base.yaml", BASE)])
        .problems
        .iter()
        .map(|p| p.code)
        .collect();
    assert_eq!(codes, [Code::ExtendsDigest, Code::UnknownKey]);
}

#[test]
fn shipped_constitutions_have_no_errors_and_the_starter_is_clean() {
    for shipped in SHIPPED {
        let report = lint(shipped.name);
        assert_eq!(report.count(Level::Error), 0, "{:?}", report.problems);
        assert!(report.digest.is_some());
    }
    let text = starter("mine");
    assert!(text.starts_with(MODELINE));
    assert_eq!(found(&text), []);
}

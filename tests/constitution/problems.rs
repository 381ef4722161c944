//! Bad input: every problem has its code, its place and its remedy, and nothing panics or hangs.

use amend::constitution::{Code, MAX_BYTES, SHIPPED};
use proptest::prelude::*;

use super::{TWO, good, resolve_files, with, wrong, wrong_files};

#[test]
fn text_that_is_no_constitution() {
    use Code::*;
    let nothing = [
        ("", Empty),
        ("# only\n# comments\n", Empty),
        ("---\n...\n", Empty),
        ("~", Empty),
    ];
    for (text, code) in nothing {
        assert_eq!(wrong(text).0[0].0, code, "{text:?}");
    }
    let cases: [(&str, Code, usize, usize); 12] = [
        ("- a\n- b\n", WrongType, 1, 1),
        ("just words\n", WrongType, 1, 1),
        ("name: [a, b\nversion: 1\n", Syntax, 2, 8),
        ("name: n\n\tversion: 1\n", Syntax, 2, 1),
        ("name: \"n\0m\"\n", Syntax, 1, 9),
        ("name: n\n---\nname: m\n", Unsupported, 2, 1),
        ("name: !secret n\n", Unsupported, 1, 7),
        ("? [a, b]\n: c\n", Unsupported, 1, 3),
        ("name: &a [*a]\n", Aliases, 1, 11),
        ("name: *a\n", Syntax, 1, 7),
        ("name: n\nname: m\n", DuplicateKey, 2, 1),
        ("name: n\nprinciples: []\n", NoPrinciples, 2, 13),
    ];
    for (text, code, line, column) in cases {
        let (problems, message) = wrong(text);
        assert!(
            problems.contains(&(code, line, column)),
            "{text:?}: {message}"
        );
    }
    // What is missing at the end is shown behind the last text.
    for text in [
        "name: [\n\n",
        "name: {a: b\n\n",
        "name: \"n\n\n\n",
        "name: n\nprinciples:\n  - id: [a\n",
    ] {
        let (code, line, column) = wrong(text).0[0];
        let shown = text.lines().nth(line - 1).unwrap_or_default();
        assert_eq!(code, Syntax, "{text:?}");
        assert!(
            !shown.trim().is_empty() && column > 1,
            "{text:?}: {line}:{column}"
        );
    }
    assert!(wrong("name: n\n\tversion: 1\n").1.contains("spaces"));
    assert!(wrong("name: n\nname: m\n").1.contains("line 1"));
}

#[test]
fn bombs_and_deep_nesting_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    assert_eq!(wrong(&bomb).0[0].0, Code::Aliases);
    for text in [
        "[".repeat(10_000),
        format!("name: {}{}", "[".repeat(10_000), "]".repeat(10_000)),
        "{a: ".repeat(10_000),
        "- ".repeat(10_000),
        "[? ".repeat(10_000),
        "[".repeat(MAX_BYTES),
    ] {
        assert_eq!(wrong(&text).0[0].0, Code::TooDeep);
    }
    assert_eq!(
        wrong(&format!("name: [{}]", "a,".repeat(200_000))).0[0].0,
        Code::TooLarge
    );
    assert_eq!(
        wrong(&"#".repeat(MAX_BYTES + 1)).0,
        [(Code::TooLarge, 0, 0)]
    );
}

/// Files that once took minutes or ended the process. Nothing is timed: a relapse shows by itself.
#[test]
fn files_made_to_exhaust_the_loader_are_refused() {
    use Code::*;
    let critique = |text: String| with("").replace("critique: c", &format!("critique: '{text}'"));
    let signs = critique(format!("{{{{ {}1 }}}}", "- ".repeat(1_900)));
    assert_eq!(wrong(&signs).0, [(Template, 5, 15)]);
    let brackets = critique(format!("{{{{ {}1 }}}}", "(".repeat(3_900)));
    assert_eq!(wrong(&brackets).0, [(Template, 5, 15)]);
    assert_eq!(wrong(&critique("x".repeat(5_000))).0, [(TooLarge, 5, 15)]);

    let principles = |line: &dyn Fn(usize) -> String, count: usize| {
        let lines: String = (0..count).map(line).collect();
        format!("name: n\nprinciples:\n{lines}")
    };
    let folded = "~1".repeat(1_900);
    let line = |n| format!("  - {{id: a{n}, critique: '{{{{ 1{folded} }}}}', revision: r}}\n");
    assert_eq!(wrong(&principles(&line, 200)).0[0].0, TooLarge);
    let line = |n| format!("  - {{id: a{n}, revision: r, check: {{regex: '[0-9]{n}'}}}}\n");
    assert_eq!(wrong(&principles(&line, 300)).0, [(TooLarge, 259, 44)]);

    let plain = |n| format!("  - {{id: a{n}, critique: c, revision: r}}\n");
    let select: String = (0..50_000).map(|n| format!("b{n},")).collect();
    let text = format!(
        "defaults: {{select: '{select}'}}\n{}",
        principles(&plain, 10_000)
    );
    assert_eq!(wrong(&text).0[0], (UnknownId, 1, 20));
    good(&[("c.yaml", &principles(&plain, 10_000))]);
}

#[test]
fn anchors_and_aliases_in_modest_use_work() {
    let text = "\
name: n
principles:
  - id: a
    critique: &look Look closely.
    revision: &mend Mend it.
    tags: &tags [x, y]
  - {id: b, critique: *look, revision: *mend, tags: *tags}
";
    let constitution = good(&[("c.yaml", text)]).constitution;
    assert_eq!(constitution.principles[1].critique, "Look closely.");
    assert_eq!(constitution.principles[1].tags, ["x", "y"]);
}

#[test]
fn wrong_values_are_named_with_their_place() {
    use Code::*;
    let cases: [(&str, Code, usize, usize, &str); 30] = [
        ("    wieght: 1\n", UnknownKey, 7, 5, "did you mean `weight`"),
        ("    <<: {}\n", Unsupported, 7, 5, "merge keys (`<<`)"),
        ("    7: x\n", UnknownKey, 7, 5, "`7`"),
        ("    weight: -1\n", BadValue, 7, 13, "`weight` is -1"),
        ("    weight: .nan\n", BadValue, 7, 13, "NaN"),
        ("    weight: .inf\n", BadValue, 7, 13, "from 0 to"),
        ("    weight: heavy\n", WrongType, 7, 13, "a number"),
        ("    weight: '1'\n", WrongType, 7, 13, "without quotes"),
        ("    weight:\n", WrongType, 7, 11, "missing"),
        ("    precedence: 1.5\n", WrongType, 7, 17, "a whole number"),
        (
            "    precedence: 99999999999999999999\n",
            WrongType,
            7,
            17,
            "a whole number",
        ),
        (
            "    severity: Major\n",
            BadValue,
            7,
            15,
            "did you mean `major`",
        ),
        (
            "    status: off\n",
            BadValue,
            7,
            13,
            "active, draft, retired",
        ),
        ("    tags: x\n", WrongType, 7, 11, "a list"),
        ("    rationale: 12\n", WrongType, 7, 16, "quotes"),
        ("    title: {a: b}\n", WrongType, 7, 12, "text"),
        (
            "    check: {max_sentence: 3}\n",
            UnknownKey,
            7,
            13,
            "did you mean `max_sentences`",
        ),
        ("    check: {}\n", BadValue, 7, 12, "no rule"),
        ("    check: {json: false}\n", BadValue, 7, 12, "no rule"),
        (
            "    check: {json: yes}\n",
            WrongType,
            7,
            19,
            "`true` or `false`",
        ),
        ("    check: {max_words: -3}\n", BadValue, 7, 24, "-3"),
        (
            "    check: {min_words: 5, max_words: 4}\n",
            BadValue,
            7,
            12,
            "at least 5",
        ),
        ("    check: {contains: []}\n", BadValue, 7, 23, "empty list"),
        ("    check: {contains: ['']}\n", EmptyText, 7, 24, "empty"),
        ("    check: {contains: [4]}\n", WrongType, 7, 24, "quotes"),
        (
            "    check: {regex: '(a'}\n",
            Pattern,
            7,
            20,
            "unclosed group",
        ),
        (
            "    check: {not_regex: ['a', '\\w{500}{500}']}\n",
            Pattern,
            7,
            30,
            "bytes",
        ),
        ("    check: {language: english}\n", BadValue, 7, 23, "en"),
        (
            "    tests: [{prompt: p, response: r}]\n",
            MissingKey,
            7,
            13,
            "`expect`",
        ),
        (
            "    tests: [{prompt: p, response: r, expect: bad}]\n",
            BadValue,
            7,
            46,
            "violation, ok",
        ),
    ];
    for (line, code, at, column, words) in cases {
        let (problems, message) = wrong(&with(line));
        assert_eq!(problems, [(code, at, column)], "{line:?}: {message}");
        assert!(message.contains(words), "{line:?}: {message}");
    }
}

#[test]
fn messages_say_what_is_wrong_by_its_own_name() {
    let item = |tests: &str| wrong(&with(&format!("    tests: {tests}\n"))).1;
    let cases = [
        (
            wrong(&with("    precedence: 99999999999999999999\n")).1,
            "this is a number of too many digits; write a smaller one",
        ),
        (
            wrong(&with("    precedence: 010\n")).1,
            "this is a number with a 0 before it; remove the 0",
        ),
        (
            wrong(&with("    weight: 0x1F\n")).1,
            "this is a number in another base; write it in plain decimal digits",
        ),
        (
            wrong(&with("    precedence: 1e2\n")).1,
            "this is a number with a fraction or an exponent; write its digits alone",
        ),
        (
            wrong(&with("    weight: heavy\n")).1,
            "this is text; write a plain number",
        ),
        (item("[x]"), "a test must be a mapping"),
        (item("[null]"), "remove the key or the item"),
        (item("{prompt: p}"), "put each item behind `- `"),
        (
            wrong("name: n\nprinciples: [5]\n").1,
            "a principle must be a mapping",
        ),
        (
            wrong(&with("    check: {json: 'yes'}\n")).1,
            "write one of the two, without quotes",
        ),
        (
            wrong("name: n\nextends: https://example.org/a.yaml\n").1,
            "`https://example.org/a.yaml` is missing",
        ),
        (
            wrong("name: n\nextends: https://example.org/a.yaml\n").1,
            "addresses are not read",
        ),
        (
            wrong("name: n\nextends: [honestly]\n").1,
            "did you mean `honesty`?",
        ),
        (
            wrong("name: n\nextends: .\n").1,
            "the extended file `.` is missing",
        ),
        (
            wrong(&format!("{}defaults: {{select: ' , '}}\n", with(""))).1,
            "`select` names no principle",
        ),
        (
            wrong(&format!("{}defaults: {{select: 'a, all'}}\n", with(""))).1,
            "`select` has `all` in a list, and it stands alone",
        ),
        (
            wrong(
                &with("")
                    .replace("id: a", "id: &i a")
                    .replace("r\n", "r\n  - {id: *i }\n"),
            )
            .1,
            "two principles have the id `a`: line 4; rename or remove one of them; a principle or an id that an \
             alias repeats",
        ),
    ];
    for (message, words) in cases {
        assert!(message.contains(words), "no `{words}` in: {message}");
    }
    // A comma at the end names nothing.
    good(&[(
        "c.yaml",
        &format!("{}defaults: {{select: 'a,'}}\n", with("")),
    )]);
}

#[test]
fn wrong_ids_texts_and_versions_are_named_with_their_place() {
    use Code::*;
    let plain = with("");
    let cases: [(&str, &str, Code, usize, usize, &str); 12] = [
        ("id: a", "id: No Harm", BadId, 4, 9, "write `no-harm`"),
        ("id: a", "title: t", MissingKey, 4, 5, "must have `id`"),
        (
            "critique: c",
            "critique: ' '",
            EmptyText,
            5,
            15,
            "the critique of `a` is empty",
        ),
        ("    revision: r\n", "", MissingKey, 4, 9, "has no revision"),
        ("critique: c", "critique: 5", WrongType, 5, 15, "a number"),
        (
            "critique: c",
            "critique: see {{ respose }}",
            UnknownVariable,
            5,
            22,
            "did you mean `response`",
        ),
        (
            "critique: c",
            "critique: |\n      see\n      é {{ a.response }}",
            UnknownVariable,
            7,
            12,
            "`a`",
        ),
        (
            "critique: c",
            "critique: see {{ response",
            Template,
            5,
            15,
            "broken template",
        ),
        ("schema: 1", "schema: 2", UnknownSchema, 1, 9, "schema: 1"),
        ("schema: 1", "schema: one", WrongType, 1, 9, "the number 1"),
        ("name: n", "title: n", UnknownKey, 2, 1, "no key `title`"),
        (
            "name: n",
            "name: n\ndefaults: {select: 'a, ab'}",
            UnknownId,
            3,
            20,
            "`ab`",
        ),
    ];
    for (old, new, code, line, column, words) in cases {
        let (problems, message) = wrong(&plain.replace(old, new));
        assert!(
            problems.contains(&(code, line, column)),
            "{new:?}: {message}"
        );
        assert!(message.contains(words), "{new:?}: {message}");
    }
    let known = "c {{ prompt }} {{ response }} {{ draft }} {% if round > 1 %}again{% endif %}";
    good(&[(
        "c.yaml",
        &plain.replace("critique: c", &format!("critique: '{known}'")),
    )]);
}

#[test]
fn templates_that_can_never_be_rendered_are_refused() {
    use Code::*;
    let critique =
        |text: &str| with("").replace("critique: c", &format!("critique: \"see {text}\""));
    // The text begins in column 20.
    let cases: [(&str, Code, usize, &str); 9] = [
        ("{% include 'x' %}", Template, 23, "no other template"),
        ("{% extends 'x' %}", Template, 23, "`{% extends %}`"),
        ("{% import 'x' as x %}", Template, 23, "`{% import %}`"),
        (
            "{% if false %}{% include 'x' %}{% endif %}",
            Template,
            37,
            "no other template",
        ),
        ("{{ response|shorten }}", Template, 32, "filter shorten"),
        ("{{ round is shiny }}", Template, 32, "test shiny"),
        (
            "{% if round > 1 %}{{ response|shorten }}{% endif %}",
            Template,
            50,
            "filter shorten",
        ),
        (
            "{{ response|round }}",
            Template,
            15,
            "can never be rendered",
        ),
        ("{{ prompt.text }}", UnknownVariable, 23, "a plain value"),
    ];
    for (text, code, column, words) in cases {
        let (problems, message) = wrong(&critique(text));
        assert_eq!(problems, [(code, 5, column)], "{text}: {message}");
        assert!(message.contains(words), "{text}: {message}");
    }
    for text in [
        "{{ response|upper|trim }}",
        "{# {% include 'x' %} #}{{ '{% include' }}{% raw %}{% include %}{% endraw %}",
        "{% set words = response %}{{ words }}",
    ] {
        good(&[("c.yaml", &critique(text))]);
    }
}

#[test]
fn an_empty_block_is_reported_where_its_key_stands() {
    for (block, line) in [("|", 6), (">-  # why", 6), ("|+\n\n", 6)] {
        let text = with("  - {id: b, critique: c, revision: r}\n")
            .replace("revision: r\n  -", &format!("revision: {block}\n  -"));
        assert_eq!(wrong(&text).0, [(Code::EmptyText, line, 5)], "{text}");
    }
    let text = with("").replace("critique: c", "critique: |");
    assert_eq!(wrong(&text).0, [(Code::EmptyText, 5, 5)]);
}

#[test]
fn a_place_ends_where_the_value_does() {
    let cases = [
        ("    weight: \"1\"   # why\n", 7, 16),
        ("    weight: '1'\n", 7, 16),
        ("    weight: [1]  # why\n", 7, 16),
        ("    weight: {a: 1}\n", 7, 19),
        ("    weight: |\n      1\n\n    tags: []\n", 8, 8),
        ("    weight:\n      - 1\n      - a\n    tags: []\n", 9, 10),
        ("    \"wieght\":   1\n", 7, 13),
    ];
    for (line, end_line, end_column) in cases {
        let problems = resolve_files(&[("c.yaml", &with(line))])
            .unwrap_err()
            .problems;
        let span = problems[0].span.unwrap();
        assert_eq!(
            (span.end_line, span.end_column),
            (end_line, end_column),
            "{line}"
        );
    }
}

#[test]
fn a_check_makes_the_critique_optional_and_nothing_else() {
    let text = "name: n\nprinciples: [{id: a, revision: r, check: {max_words: 9}}]";
    assert_eq!(
        good(&[("c.yaml", text)]).constitution.principles[0].critique,
        ""
    );
    let (problems, _) = wrong(&text.replace("revision: r, ", ""));
    assert_eq!(problems, [(Code::MissingKey, 2, 19)]);
}

#[test]
fn a_change_to_a_principle_that_is_not_there_is_a_mistake() {
    let root = "name: root\nextends: [base.yaml]\nprinciples:\n  - {id: short-words, weight: 2}\n";
    let base = TWO
        .replace("id: b", "id: short-word")
        .replace("'a, b'", "all");
    let (problems, text) = wrong_files(&[("root.yaml", root), ("base.yaml", &base)]);
    assert_eq!(
        problems,
        [(Code::MissingKey, 4, 10), (Code::MissingKey, 4, 10)]
    );
    assert!(text.contains("did you mean `short-word`"), "{text}");
}

#[test]
fn principles_that_are_not_active_are_not_enough() {
    let (problems, text) = wrong(&with("    status: draft\n"));
    assert_eq!(problems, [(Code::NoPrinciples, 4, 3)]);
    assert!(text.contains("status: active"), "{text}");
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_lines() {
    let text = "\
nam: n
principles:
  - {id: a, critique: c, revision: r, weight: x}
  - {id: a, critique: c, revision: r}
  - {id: B, critique: '{{ x }}', revision: r, check: {regex: '['}}
";
    let (problems, message) = wrong(text);
    let codes: Vec<_> = problems.iter().map(|(code, _, _)| *code).collect();
    use Code::*;
    assert_eq!(
        codes,
        [
            UnknownKey,
            MissingKey,
            WrongType,
            DuplicateId,
            BadId,
            UnknownVariable,
            Pattern
        ]
    );
    assert_eq!(message.lines().count(), 7);
    assert!(
        message.lines().all(|line| line.starts_with("c.yaml:")),
        "{message}"
    );
    assert!(message.contains("lines 3 and 4"), "{message}");
}

#[test]
fn many_problems_are_counted_and_not_all_shown() {
    let keys: String = (0..1000).map(|n| format!("k{n}: v\n")).collect();
    let (problems, message) = wrong(&with(&keys));
    assert_eq!(problems.len(), 1000);
    assert_eq!(message.lines().count(), 21);
    assert!(
        message.ends_with("and 980 more; mend these first"),
        "{message}"
    );
}

/// Pieces that break YAML in interesting ways.
const SHARDS: [&str; 24] = [
    "{{", "}}", "{%", "[", "]", "{", "}", ": ", "- ", "\n", "\t", "&a ", "*a", "\"", "'", "|",
    ">-", "#", "!x", "---\n", "é", "\0", "~", ".nan",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_are_refused_or_resolved_and_never_panic(
        which in 0..SHIPPED.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..SHARDS.len(), 0..40usize), 1..6),
    ) {
        let mut text: Vec<char> = SHIPPED[which].text.chars().collect();
        for (at, shard, remove) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, SHARDS[shard].chars());
        }
        let text: String = text.into_iter().collect();
        match resolve_files(&[("c.yaml", &text)]) {
            Ok(resolved) => prop_assert!(!resolved.constitution.active().is_empty()),
            Err(error) => {
                let lines = text.split(['\n', '\r']).count();
                for problem in error.problems {
                    let span = problem.span.expect("a place");
                    prop_assert!(span.line >= 1 && span.line <= lines + 1 && span.column >= 1, "{problem}");
                }
            }
        }
    }

    #[test]
    fn any_text_is_refused_or_resolved(text in "(\\PC|[\n\t:{}\\[\\]&*!|>'\"#-]){0,200}") {
        let _ = resolve_files(&[("c.yaml", &text)]);
    }
}

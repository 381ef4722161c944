//! Values that are wrong: named with their place, and by their own name.

use amend::constitution::Code;

use super::{good, with, wrong};

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

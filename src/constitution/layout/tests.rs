use std::io;

use proptest::prelude::*;

use super::*;
use crate::constitution::{SHIPPED, resolve};

fn laid_out(text: &str) -> String {
    format(Path::new("c.yaml"), text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn digest(text: &str) -> Option<crate::digest::Digest> {
    let none = &mut |_: &Path| Err(io::ErrorKind::NotFound.into());
    let resolved = resolve(Path::new("c.yaml"), text, none).ok();
    resolved.map(|resolved| resolved.digest)
}

#[test]
fn one_layout_for_every_way_of_writing() {
    let text = "\
# yaml-language-server: $schema=./schema.json

# What it is.
name:    \"mine\"   # a name


schema: 1
principles:
# The first.
- critique: Look for a long text that goes on and on, beyond what fits on one line of the file, and then some.
  revision:   'Mend it.'
  id: a
  weight: 1.50  # kept as it is written
  check: { max_words: 3,
           contains: [ 'x: y', \"?\" ] }
  tests: [ {prompt: p, response: 'r', expect: ok} ]
  # After the last key.
- {id: b, revision: \"no\", critique: '# c'}
# The end.
";
    let expected = "\
# yaml-language-server: $schema=./schema.json

# What it is.
schema: 1
name: mine        # a name
principles:
  # The first.
  - id: a
    critique: >-
      Look for a long text that goes on and on, beyond what fits on one line of the file, and then
      some.
    revision: Mend it.
    weight: 1.50  # kept as it is written
    check: {contains: [\"x: y\", \"?\"], max_words: 3}
    tests: [{prompt: p, response: r, expect: ok}]
    # After the last key.
  - {id: b, critique: \"# c\", revision: \"no\"}
# The end.
";
    assert_eq!(laid_out(text), expected);
    assert_eq!(laid_out(expected), expected);
    assert_eq!(digest(text), digest(expected));
}

#[test]
fn comments_stay_with_what_they_are_about() {
    let text = "\
name: n  # one
principles:   # two

  # three

  # four
  - id: a # five
    # six
    revision: r
    critique: >- # seven
      c
    tags: [   # eight
      x,      # nine
      # ten
      y]      # eleven
    tests:
      - {prompt: p, # twelve
         response: r, expect: ok}

      # thirteen

  # fourteen
  - # fifteen
    critique: c
    revision: r
    id: b
";
    let expected = "\
name: n  # one
principles:   # two
  # three

  # four
  - id: a  # five
    critique: >-  # seven
      c
    # six
    revision: r
    # eleven
    tags:     # eight
      - x     # nine
      # ten
      - y
    tests:
      - prompt: p   # twelve
        response: r
        expect: ok

      # thirteen

  # fourteen
  # fifteen
  - id: b
    critique: c
    revision: r
";
    let found = laid_out(text);
    let all = |text: &str| texts(text);
    assert_eq!(all(&found), all(text));
    assert_eq!(all(&found).len(), 15);
    assert_eq!(laid_out(&found), found);
    // Where the eleventh goes is a matter of taste; that it is there is not.
    let without = |text: &str| {
        text.lines()
            .filter(|l| !l.contains("eleven"))
            .map(|l| format!("{l}\n"))
            .collect::<String>()
    };
    assert_eq!(without(&found), without(expected));
}

#[test]
fn comments_behind_a_mapping_in_a_list_stand_before_it() {
    let long = "words that go on ".repeat(4);
    let test = "{prompt: p, # inner\n         response: r, expect: ok}";
    for (principle, expected) in [
        (
            "- {id: a, critique: foo, # c1\n   revision: foo} # c2\n".to_owned(),
            "principles:\n  # c2\n  - id: a\n",
        ),
        (
            "- {id: a, # c1\n   critique: foo, revision: foo} # c2\n".to_owned(),
            "principles:\n  # c2\n  - id: a  # c1\n",
        ),
        (
            format!(
                "- {{id: a, critique: \"{long}\", revision: \"so that it does not fit\"}}   # why\n"
            ),
            "principles:\n  # why\n  - id: a\n",
        ),
        (
            format!(
                "- &x {{id: a, critique: \"{long}\", revision: \"so that it does not fit\"}}   # why\n"
            ),
            "principles:\n  # why\n  - &x\n    id: a\n",
        ),
        (
            "- &x # c\n  # d\n  id: a\n  critique: c\n  revision: r\n".to_owned(),
            "principles:\n  # c\n  # d\n  - &x\n    id: a\n",
        ),
        (
            "- {tags: [ # none\n   ], id: a, critique: c, revision: r} # c\n".to_owned(),
            "principles:\n  # c\n",
        ),
        (
            format!(
                "- id: a\n  critique: c\n  revision: r\n  tests:\n    - {test} # two\n    - {test}  # three\n"
            ),
            "    tests:\n      # two\n      - prompt: p",
        ),
    ] {
        let text = format!("name: n\nprinciples:\n{principle}");
        let once = laid_out(&text);
        assert!(once.contains(expected), "{text}\n{once}");
        assert_eq!(laid_out(&once), once);
        assert_eq!(texts(&once), texts(&text));
        assert_eq!(digest(&once), digest(&text));
    }
}

#[test]
fn anchors_keep_their_order() {
    let text = "\
name: n
principles:
  - revision: &mend Mend it.
    critique: &look >-
      Look closely.
    id: a
    tags: &tags [x, y]
  - {id: b, critique: *look, revision: *mend, tags: *tags}
";
    assert_eq!(laid_out(text).replace("\n\n", "\n"), text);
}

#[test]
fn texts_are_written_so_that_they_read_the_same() {
    for (written, expected) in [
        ("\"a\\tb\"", "\"a\\tb\""),
        ("'it''s'", "it's"),
        ("'\\d+'", "'\\d+'"),
        ("'\\d''s'", "'\\d''s'"),
        ("\"\\\"\"", "'\"'"),
        ("\"true\"", "\"true\""),
        ("\"12\"", "\"12\""),
        ("\"No\"", "\"No\""),
        ("\" a\"", "\" a\""),
        ("\"a #b\"", "\"a #b\""),
        ("\"- a\"", "\"- a\""),
        ("\"a\\nb\"", "|-\n        a\n        b"),
        ("\"a\\n b\\n\"", "|\n        a\n         b"),
        ("\"a\\n\\n\"", "\"a\\n\\n\""),
        ("\"a \\nb\"", "\"a \\nb\""),
        ("\"\\u2028\\0é漢\"", "\"\\u2028\\x00é漢\""),
        ("|\n          a\n", "|\n        a"),
        ("|+\n          a\n\n", "\"a\\n\\n\\n\""),
        (
            ">\n          a\n          b\n\n          c\n",
            ">\n        a b\n\n        c",
        ),
        ("a\n          b", "a b"),
    ] {
        let file = |value: &str| {
            format!(
                "name: n\nprinciples:\n  - id: a\n    critique: c\n    revision: r\n    tests:\n    - prompt: p\n      response: {value}\n      expect: ok\n"
            )
        };
        let found = laid_out(&file(written));
        let at = found.find("response: ").unwrap() + "response: ".len();
        let end = at + found[at..].find("        expect").unwrap();
        let value = found[at..end].trim_end();
        let value = value.replace("          ", "        ");
        assert_eq!(value, expected, "{written}");
        assert_eq!(laid_out(&found), found);
        assert_eq!(digest(&file(written)), digest(&found), "{written}");
    }
}

#[test]
fn what_older_readers_take_for_something_else_is_quoted() {
    let text = "\
name: n
version: 1.0.0
principles:
  - id: no
    title: 2026-01-02
    critique: Is it so?
    revision: So is it.
    rationale: 12:30
    tags: [a_1, on, 1_000, 2001-12-14 21:59:43]
    tests:
      - {prompt: Is it so?, response: Yes, expect: ok}
      - {prompt: Who said \"so\"?, response: y, expect: ok}
";
    let expected = "\
name: n
version: 1.0.0
principles:
  - id: \"no\"
    title: \"2026-01-02\"
    critique: Is it so?
    revision: So is it.
    tags: [a_1, \"on\", \"1_000\", \"2001-12-14 21:59:43\"]
    rationale: \"12:30\"
    tests:
      - {prompt: \"Is it so?\", response: \"Yes\", expect: ok}
      - {prompt: 'Who said \"so\"?', response: y, expect: ok}
";
    let printed = laid_out(text);
    assert_eq!(printed, expected);
    assert_eq!(laid_out(&printed), printed);
    assert_eq!(digest(&printed), digest(text));
}

#[test]
fn a_block_that_cannot_stay_one_gets_the_quotes_that_it_keeps() {
    let text = "\
name: n1
principles:
  - id: a
    critique: >-
      Say \"so\" \n    revision: |2-
       indented 'so'
";
    let printed = laid_out(text);
    assert!(printed.contains("critique: 'Say \"so\" '\n"), "{printed}");
    assert_eq!(laid_out(&printed), printed);
    assert_eq!(digest(&printed), digest(text));
}

#[test]
fn files_with_errors_are_not_touched() {
    let wrong = |text: &str| format(Path::new("c.yaml"), text).unwrap_err().problems[0].code;
    assert_eq!(wrong("name: n\nnam: m\n"), Code::UnknownKey);
    assert_eq!(wrong("name: [\n"), Code::Syntax);
    assert_eq!(wrong(""), Code::Empty);
}

/// Pieces of which files are made by chance.
fn text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "look",
        "for",
        "#",
        "a: b",
        "- x",
        "'",
        "\"",
        "\\",
        "{{ prompt }}",
        "é漢",
        "no",
        "12",
        ",",
        "]",
        "}",
        ":",
        "",
        " ",
        "\n",
        "\n\n",
        "\t",
        "|",
        ">",
        "&a",
        "*b",
        "%",
        "@",
        "`",
        "---",
        "...",
        "?",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
    ]);
    prop::collection::vec(word, 0..30).prop_map(|words| words.join(" "))
}

/// A value in one of the ways in which it can be written, its own lines indented by `indent`.
fn written(text: &str, way: u8, indent: usize) -> String {
    let simple = text
        .chars()
        .all(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{feff}'));
    match way {
        0 if simple => format!("'{}'", text.replace('\'', "''")),
        1 if simple && !text.trim().is_empty() => {
            let pad = " ".repeat(indent);
            let words: Vec<_> = text.split_whitespace().collect();
            format!(">-\n{pad}{}", words.join(&format!("\n{pad}")))
        }
        2 if simple && !text.trim().is_empty() => {
            format!("|\n{}{}", " ".repeat(indent), text.trim())
        }
        // The two readers of YAML do not agree on what these are when they are not escaped.
        _ => serde_json::Value::from(text)
            .to_string()
            .replace('\u{85}', "\\x85")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{7f}', "\\x7f"),
    }
}

#[derive(Clone, Debug)]
struct Made {
    text: String,
}

fn made() -> impl Strategy<Value = Made> {
    let comment = prop::option::weighted(0.3, "[ a-z#:'\\[{-]{0,12}");
    let entry = (
        text(),
        0u8..5,
        comment.clone(),
        comment.clone(),
        any::<bool>(),
    );
    let principle = (
        prop::collection::vec(entry, 5),
        0u8..3,
        comment.clone(),
        any::<u16>(),
    );
    prop::collection::vec(principle, 1..4).prop_map(|principles| {
        let mut text = "# head\nname: n # t\nprinciples:\n".to_owned();
        for (index, (entries, style, comment, order)) in principles.into_iter().enumerate() {
            text += &principle_of(index, &entries, style, comment.as_deref(), order);
        }
        Made { text }
    })
}

type Entry = (String, u8, Option<String>, Option<String>, bool);

fn principle_of(
    index: usize,
    entries: &[Entry],
    style: u8,
    comment: Option<&str>,
    order: u16,
) -> String {
    let mut keys = ["title", "rationale", "critique", "revision", "id"];
    keys.rotate_left(usize::from(order % 5));
    let mut text = String::new();
    if let Some(comment) = comment {
        text += &format!("# {comment}\n");
    }
    if style == 0 {
        let values = keys.iter().zip(entries).map(|(key, entry)| match *key {
            "id" => format!("id: p{index}"),
            key => format!("{key}: {}", value_of(key, entry, 3, 0)),
        });
        return text + &format!("- {{ {} }}\n", values.collect::<Vec<_>>().join(", "));
    }
    for (at, (key, entry)) in keys.iter().zip(entries).enumerate() {
        let (_, way, above, behind, blank) = entry;
        if let Some(above) = above {
            text += &format!("    # {above}\n");
        }
        if *blank {
            text += "\n";
        }
        let lead = if at == 0 { "  - " } else { "    " };
        let value = match *key {
            "id" => format!("p{index}"),
            key => value_of(key, entry, *way, 8),
        };
        let behind = behind.as_ref().map_or(String::new(), |c| format!(" # {c}"));
        let (first, rest) = value.split_once('\n').unwrap_or((&value, ""));
        text += &format!("{lead}{key}: {first}{behind}\n");
        if !rest.is_empty() {
            text += &format!("{rest}\n");
        }
    }
    text
}

fn value_of(key: &str, entry: &Entry, way: u8, indent: usize) -> String {
    // Templates must compile, and these two must say something.
    let text = match key {
        "critique" | "revision" => format!("x {}", entry.0.replace("{{ prompt }}", "")),
        _ => entry.0.clone(),
    };
    written(&text, way, indent)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn layout_changes_no_meaning_and_loses_no_comment(made in made()) {
        let Some(before) = digest(&made.text) else {
            return Ok(());
        };
        let once = laid_out(&made.text);
        prop_assert_eq!(digest(&once), Some(before), "{}\n{}", made.text, once);
        prop_assert_eq!(texts(&once), texts(&made.text));
        prop_assert_eq!(laid_out(&once), once);
    }

    #[test]
    fn damaged_files_never_panic_and_what_is_laid_out_stays(
        which in 0..SHIPPED.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[ \\n#:'\"\\[\\]{},>|&*-]{0,3}", 0..9usize), 1..5),
    ) {
        let mut text: Vec<char> = SHIPPED[which].text.chars().collect();
        for (at, shard, remove) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, shard.chars());
        }
        let text: String = text.into_iter().collect();
        if let Ok(once) = format(Path::new("c.yaml"), &text) {
            prop_assert_eq!(digest(&once), digest(&text));
            prop_assert_eq!(texts(&once), texts(&text));
            prop_assert_eq!(format(Path::new("c.yaml"), &once).map_err(|e| e.to_string()), Ok(once));
        }
    }
}

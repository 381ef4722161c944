//! Constitutions as a person meets them: the shipped ones, and files with something wrong in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use amend::constitution::{
    Code, ConstitutionError, Expect, MAX_BYTES, Resolved, SHIPPED, Severity, Source, Status, load,
    resolve,
};
use proptest::prelude::*;

/// Resolves the first of some files; the others can be extended.
fn resolve_files(files: &[(&str, &str)]) -> Result<Resolved, ConstitutionError> {
    let known: BTreeMap<PathBuf, &str> = files
        .iter()
        .map(|(name, text)| (name.into(), *text))
        .collect();
    let (root, text) = files[0];
    resolve(Path::new(root), text, &mut |path| {
        let text = known.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok((*text).to_owned())
    })
}

fn good(files: &[(&str, &str)]) -> Resolved {
    resolve_files(files).unwrap_or_else(|error| panic!("{error}"))
}

/// What is wrong with a file called `c.yaml`: code and position of every problem, and the whole text.
fn wrong(text: &str) -> (Vec<(Code, usize, usize)>, String) {
    wrong_files(&[("c.yaml", text)])
}

fn wrong_files(files: &[(&str, &str)]) -> (Vec<(Code, usize, usize)>, String) {
    let error = resolve_files(files).expect_err("a problem");
    assert!(!error.problems.is_empty());
    let at = |span: Option<amend::constitution::Span>| span.map_or((0, 0), |s| (s.line, s.column));
    let list = error.problems.iter().map(|problem| {
        assert!(!problem.remedy.is_empty());
        let (line, column) = at(problem.span);
        (problem.code, line, column)
    });
    (list.collect(), error.to_string())
}

/// A file with one principle, some lines of which can be replaced.
fn with(principle: &str) -> String {
    format!(
        "schema: 1\nname: n\nprinciples:\n  - id: a\n    critique: c\n    revision: r\n{principle}"
    )
}

const TWO: &str = "\
schema: 1
name: base
version: 2.0.0
license: MIT
defaults: {rounds: 3, select: 'a, b'}
principles:
  - {id: a, critique: look, revision: mend, weight: 2, tags: [x]}
  - {id: b, critique: look b, revision: mend b}
";

#[test]
fn shipped_constitutions_are_complete() {
    for shipped in SHIPPED {
        let loaded = load(shipped.name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.source, Source::Shipped(shipped.name));
        let constitution = loaded.resolved.constitution;
        for principle in &constitution.principles {
            let id = format!("{}: {}", shipped.name, principle.id);
            for text in [
                &principle.title,
                &principle.critique,
                &principle.revision,
                &principle.rationale,
            ] {
                assert!(!text.is_empty(), "{id}");
            }
            assert!(!principle.tags.is_empty(), "{id}");
            for expect in [Expect::Violation, Expect::Ok] {
                let count = principle
                    .tests
                    .iter()
                    .filter(|t| t.expect == expect)
                    .count();
                assert!(count >= 2, "{id} has {count} tests for {expect:?}");
            }
        }
    }
}

#[test]
fn the_main_constitution_covers_its_ground() {
    let hhh = load("hhh").unwrap().resolved.constitution;
    assert_eq!(hhh.name, "helpful-harmless-honest");
    assert!(hhh.active().len() >= 12);
    for tag in ["helpfulness", "harmlessness", "honesty"] {
        let count = hhh
            .principles
            .iter()
            .filter(|p| p.tags.iter().any(|t| t == tag))
            .count();
        assert!(count >= 3, "{tag}: {count}");
    }
    assert_eq!(hhh.active()[0].id, "keep-people-safe");
}

#[test]
fn the_tests_of_principles_with_a_check_hold() {
    let mut judged = 0;
    for shipped in SHIPPED {
        let constitution = load(shipped.name).unwrap().resolved.constitution;
        for principle in &constitution.principles {
            let Some(check) = &principle.check else {
                continue;
            };
            for test in &principle.tests {
                let breaches = check.breaches(&test.response);
                let violated = !breaches.is_empty();
                let expected = test.expect == Expect::Violation;
                assert_eq!(
                    violated, expected,
                    "{}: {:?} {breaches:?}",
                    principle.id, test.response
                );
                judged += 1;
            }
        }
    }
    assert!(judged >= 20, "{judged}");
}

#[test]
fn the_demo_prompts_have_ids_and_categories() {
    let text = fs::read_to_string("datasets/demo.jsonl").unwrap();
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 8);
    for key in ["id", "category", "prompt"] {
        let mut values: Vec<_> = rows.iter().map(|row| row[key].as_str().unwrap()).collect();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), 8, "{key}");
    }
}

#[test]
fn a_file_wins_over_a_shipped_constitution_which_is_found_by_its_path_anywhere() {
    let loaded = load("constitutions/hhh.yaml").unwrap();
    assert_eq!(loaded.source, Source::File("constitutions/hhh.yaml".into()));
    assert_eq!(loaded.resolved.digest, load("hhh").unwrap().resolved.digest);
    assert_eq!(
        loaded.resolved.digest,
        load("./constitutions/hhh.yaml").unwrap().resolved.digest
    );

    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("mine.yaml");
    let text = "name: mine\nextends: [hhh]\nprinciples: [{id: plain-words, weight: 3.5}]\n";
    fs::write(&mine, text).unwrap();
    let resolved = load(mine.to_str().unwrap()).unwrap().resolved;
    assert_eq!(resolved.constitution.name, "mine");
    assert_eq!(
        resolved
            .constitution
            .principle("plain-words")
            .unwrap()
            .weight,
        3.5
    );
    assert!(resolved.constitution.principles.len() >= 12);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let code = |name: &str| {
        let error = load(&path(name)).unwrap_err();
        assert!(error.to_string().starts_with(&path(name)), "{error}");
        (error.problems[0].code, error.to_string())
    };
    assert_eq!(code("").0, Code::Unreadable);
    let (missing, text) = code("hhhh.yaml");
    assert_eq!(missing, Code::Unreadable);
    assert!(
        text.contains("did you mean `hhh`") && text.contains("minimal"),
        "{text}"
    );

    fs::write(path("large.yaml"), " ".repeat(MAX_BYTES + 1)).unwrap();
    assert_eq!(code("large.yaml").0, Code::TooLarge);
    fs::write(path("latin.yaml"), b"name: n\ndescription: caf\xe9\n").unwrap();
    let (latin, text) = code("latin.yaml");
    assert_eq!(latin, Code::NotUtf8);
    assert!(text.contains("latin.yaml:2:17: "), "{text}");

    fs::write(
        path("mine.yaml"),
        "name: n\nextends: [latin.yaml, none.yaml]\n",
    )
    .unwrap();
    let error = load(&path("mine.yaml")).unwrap_err();
    let codes: Vec<_> = error.problems.iter().map(|p| p.code).collect();
    assert_eq!(codes, [Code::ExtendsMissing, Code::NotUtf8]);
    assert!(error.to_string().contains("mine.yaml:2:23: "), "{error}");
}

#[test]
fn what_is_not_written_has_defaults() {
    let text = "name: n\nprinciples: [{id: a, critique: ' c ', revision: r}]";
    let constitution = good(&[("c.yaml", text)]).constitution;
    assert_eq!(
        (constitution.schema, constitution.version.as_str()),
        (1, "0.0.0")
    );
    let a = &constitution.principles[0];
    assert_eq!((a.title.as_str(), a.critique.as_str()), ("a", "c"));
    assert_eq!((a.weight, a.precedence), (1.0, 100));
    assert_eq!((a.severity, a.status), (Severity::Major, Status::Active));
    assert!(a.check.is_none() && a.tests.is_empty() && a.tags.is_empty());
}

#[test]
fn layout_and_comments_do_not_change_the_digest_and_content_does() {
    let digest = |text: &str| good(&[("c.yaml", text)]).digest;
    let one = "name: n\nprinciples: [{id: a, critique: c d, revision: r, weight: 1}]";
    let two = "\u{feff}# note\r\nprinciples:\r\n- revision: 'r'\r\n  critique: >\r\n    c\r\n    d\r\n  id: a\r\nschema: 1\r\nname: n\r\n";
    assert_eq!(digest(one), digest(two));
    assert_ne!(digest(one), digest(&one.replace("c d", "c e")));
    assert_ne!(digest(one), digest(&one.replace("weight: 1", "weight: 2")));
}

#[test]
fn scalars_keep_the_text_that_was_written() {
    let text = with("    tests:\n      - {prompt: 6*7, response: 42.0, expect: ok}\n")
        .replace("name: n", "name: 7\nversion: 1.10");
    let constitution = good(&[("c.yaml", &text)]).constitution;
    assert_eq!(
        (constitution.name.as_str(), constitution.version.as_str()),
        ("7", "1.10")
    );
    assert_eq!(constitution.principles[0].tests[0].response, "42.0");
}

#[test]
fn extending_adds_principles_and_changes_single_fields() {
    let root = "\
name: root
extends: [sub/base.yaml]
defaults: {rounds: 1}
principles:
  - {id: c, critique: c, revision: r}
  - {id: a, weight: 5, tags: []}
";
    let resolved = good(&[("root.yaml", root), ("sub/base.yaml", TWO)]);
    let constitution = &resolved.constitution;
    let ids: Vec<_> = constitution
        .principles
        .iter()
        .map(|p| p.id.as_str())
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let a = constitution.principle("a").unwrap();
    assert_eq!(
        (a.weight, a.critique.as_str(), a.tags.len()),
        (5.0, "look", 0)
    );
    assert_eq!(
        (constitution.name.as_str(), constitution.license.as_str()),
        ("root", "")
    );
    assert_eq!(constitution.defaults.rounds, Some(1));
    assert_eq!(constitution.defaults.select.as_deref(), Some("a, b"));

    assert_eq!(
        resolved.files,
        [Path::new("sub/base.yaml"), Path::new("root.yaml")]
    );
    let origin = &resolved.origins["a"];
    assert_eq!(origin.principle.to_string(), "sub/base.yaml:7:10");
    assert_eq!(origin.fields["weight"].to_string(), "root.yaml:6:21");
    assert_eq!(origin.fields["critique"].to_string(), "sub/base.yaml:7:23");
}

#[test]
fn a_file_reached_twice_is_applied_once_and_later_files_win() {
    let left = "name: left\nextends: ../base.yaml\nprinciples: [{id: a, weight: 3}]";
    let right = "name: right\nextends: [./../base.yaml]\nprinciples: [{id: b, title: B}]";
    let root = "name: root\nextends: [x/left.yaml, x/right.yaml]";
    let files = [
        ("root.yaml", root),
        ("x/left.yaml", left),
        ("x/right.yaml", right),
        ("base.yaml", TWO),
    ];
    let resolved = good(&files);
    assert_eq!(resolved.files.len(), 4);
    let weight = |id: &str| resolved.constitution.principle(id).unwrap().weight;
    assert_eq!((weight("a"), weight("b")), (3.0, 1.0));
    assert_eq!(resolved.constitution.principle("b").unwrap().title, "B");
}

#[test]
fn two_bases_must_not_have_one_id_by_chance() {
    let root = "name: root\nextends: [one.yaml, two.yaml]";
    let other = TWO.replace("id: b", "id: z");
    let (problems, text) =
        wrong_files(&[("root.yaml", root), ("one.yaml", TWO), ("two.yaml", &other)]);
    assert_eq!(problems, [(Code::DuplicateId, 7, 10)]);
    assert!(
        text.contains("two.yaml:7:10") && text.contains("one.yaml:7:10"),
        "{text}"
    );
}

#[test]
fn an_extended_file_can_be_pinned_to_its_digest() {
    let base = good(&[("base.yaml", TWO)]);
    let root = |pin: &str| format!("name: root\nextends:\n  - base.yaml#{pin}\n");
    let files = |text: &str| resolve_files(&[("root.yaml", text), ("base.yaml", TWO)]);
    assert!(files(&root(base.digest.as_str())).is_ok());

    let other = format!("b3:{}", "0".repeat(64));
    let error = files(&root(&other)).unwrap_err();
    assert_eq!(error.problems[0].code, Code::ExtendsDigest);
    let text = error.to_string();
    assert!(text.starts_with("root.yaml:3:5: "), "{text}");
    assert!(
        text.contains(base.digest.as_str()) && text.contains(&other),
        "{text}"
    );

    let error = files(&root("b3:123")).unwrap_err();
    assert_eq!(error.problems[0].code, Code::BadValue);
    assert!(error.to_string().contains(base.digest.as_str()));
}

#[test]
fn circles_are_shown_and_missing_files_are_named_at_their_entry() {
    let a = "name: a\nextends: [b.yaml]";
    let b = "name: b\nextends:\n  - c/c.yaml";
    let c = "name: c\nextends: [../a.yaml]";
    let (problems, text) = wrong_files(&[
        ("./a.yaml", a),
        ("b.yaml", b),
        ("c/c.yaml", c),
        ("a.yaml", a),
    ]);
    assert_eq!(problems, [(Code::ExtendsCycle, 2, 11)]);
    assert!(
        text.contains("a.yaml → b.yaml → c/c.yaml → a.yaml"),
        "{text}"
    );

    let (problems, text) = wrong("name: n\nextends:\n  - none.yaml\n");
    assert_eq!(problems, [(Code::ExtendsMissing, 3, 5)]);
    assert!(
        text.starts_with("c.yaml:3:5: ") && text.contains("none.yaml"),
        "{text}"
    );

    let itself = wrong("name: n\nextends: c.yaml\n").1;
    assert!(itself.contains("c.yaml → c.yaml"), "{itself}");
}

#[test]
fn long_rows_and_large_families_of_files_are_refused() {
    let endless = resolve(
        Path::new("0.yaml"),
        "name: n\nextends: 1.yaml",
        &mut |path| {
            let number: u32 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            Ok(format!("name: n\nextends: {}.yaml", number + 1))
        },
    );
    assert_eq!(endless.unwrap_err().problems[0].code, Code::ExtendsCycle);

    let names: Vec<_> = (0..1000).map(|n| format!("b{n}.yaml")).collect();
    let wide = format!("name: n\nextends: [{}]", names.join(", "));
    let base = "name: n";
    let error = resolve(Path::new("c.yaml"), &wide, &mut |_| Ok(base.to_owned())).unwrap_err();
    assert_eq!(error.problems[0].code, Code::TooLarge);
}

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
        assert_eq!(problems[0], (code, line, column), "{text:?}: {message}");
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

#[test]
fn stress_dbg() {
    let t = |name: &str, text: String| {
        let a = std::time::Instant::now();
        let r = resolve_files(&[("c.yaml", &text)]);
        println!(
            "{name} {} bytes {:?} {}",
            text.len(),
            a.elapsed(),
            match r {
                Ok(r) => format!("ok {}", r.constitution.principles.len()),
                Err(e) => format!("{:.150}", e.to_string()),
            }
        );
    };
    let many = |f: &dyn Fn(usize) -> String, n: usize| {
        format!(
            "name: n\nprinciples:\n{}",
            (0..n).map(f).collect::<String>()
        )
    };
    t(
        "many",
        many(
            &|i| format!("  - {{id: a{i}, critique: look {i}, revision: mend}}\n"),
            12000,
        ),
    );
    t(
        "100",
        many(
            &|i| format!("  - {{id: a{i}, critique: look {i}, revision: mend}}\n"),
            100,
        ),
    );
    t(
        "manybad",
        many(
            &|i| format!("  - {{ida: a{i}, critiqu: look {i}, revision: mend}}\n"),
            15000,
        ),
    );
    t(
        "manymissing",
        many(&|i| format!("  - {{id: a{i}}}\n"), 40000),
    );
    t(
        "manyregex",
        many(
            &|i| {
                format!("  - {{id: a{i}, revision: r, check: {{regex: '(\\w{{1,12}}){{1,3}}'}}}}\n")
            },
            256,
        ),
    );
    t(
        "manytmpl",
        many(
            &|i| {
                format!(
                    "  - {{id: a{i}, revision: r, critique: '{{{{ {} }}}}'}}\n",
                    "x|a".to_string() + &"|a".repeat(2000)
                )
            },
            200,
        ),
    );
    t(
        "attr",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ response{} }}}}'", ".a".repeat(1900)),
        ),
    );
    t(
        "plus",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ 1{} }}}}'", "+1".repeat(1900)),
        ),
    );
    t(
        "call",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ round{} }}}}'", "()".repeat(1900)),
        ),
    );
    t(
        "not",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ {} 1 }}}}'", "not ".repeat(1900)),
        ),
    );
    t(
        "paren",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ {} 1 }}}}'", "(".repeat(7900)),
        ),
    );
    t(
        "elif",
        with("").replace(
            "critique: c",
            &format!("critique: '{{% if 1 %}}{}'", "{%elif 1%}".repeat(790)),
        ),
    );
    t(
        "elifok",
        with("").replace(
            "critique: c",
            &format!(
                "critique: '{{% if 1 %}}{}{{% endif %}}'",
                "{%elif 1%}".repeat(790)
            ),
        ),
    );
    t(
        "pow",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ 1{} }}}}'", "**1".repeat(2600)),
        ),
    );
    t(
        "tern",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ 1{} }}}}'", " if 1 else 1".repeat(660)),
        ),
    );
    t(
        "minus",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ {} 1 }}}}'", "-".repeat(1900)),
        ),
    );
    t(
        "minus200",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ {} 1 }}}}'", "- ".repeat(199)),
        ),
    );
    t(
        "sq",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ {} 1 }}}}'", "[".repeat(1900)),
        ),
    );
    t(
        "br",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ {} 1 }}}}'", "{1:".repeat(1200)),
        ),
    );
    t(
        "sub",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ {} 1 }}}}'", "round[".repeat(600)),
        ),
    );
    t(
        "callx",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ {} 1 }}}}'", "round(".repeat(600)),
        ),
    );
    t(
        "if",
        with("").replace(
            "critique: c",
            &format!("critique: '{} 1 '", "{%if 1%}".repeat(490)),
        ),
    );
    t(
        "ifok",
        with("").replace(
            "critique: c",
            &format!(
                "critique: '{}{}'",
                "{%if 1%}".repeat(200),
                "{%endif%}".repeat(200)
            ),
        ),
    );
    t(
        "for",
        with("").replace(
            "critique: c",
            &format!(
                "critique: '{}{}'",
                "{%for a in 1%}".repeat(150),
                "{%endfor%}".repeat(150)
            ),
        ),
    );
    t(
        "setb",
        with("").replace(
            "critique: c",
            &format!(
                "critique: '{}{}'",
                "{%set a%}".repeat(200),
                "{%endset%}".repeat(200)
            ),
        ),
    );
    t(
        "filt",
        with("").replace(
            "critique: c",
            &format!("critique: '{}'", "{%filter a(".repeat(190)),
        ),
    );
    t(
        "unp",
        with("").replace(
            "critique: c",
            &format!(
                "critique: '{{% for {} in 1 %}}{{% endfor %}}'",
                "(".repeat(1900)
            ),
        ),
    );
    t(
        "unpset",
        with("").replace(
            "critique: c",
            &format!("critique: '{{% set {} = 1 %}}'", "(".repeat(1900)),
        ),
    );
    t(
        "and",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ 1{} }}}}'", " and 1".repeat(600)),
        ),
    );
    t(
        "tilde",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ 1{} }}}}'", "~1".repeat(1900)),
        ),
    );
    t(
        "is",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ 1{} }}}}'", " is a".repeat(700)),
        ),
    );
    t(
        "isarg",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ 1 {} }}}}'", "is not ".repeat(500)),
        ),
    );
    t(
        "in",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ 1{} }}}}'", " in 1".repeat(700)),
        ),
    );
    t(
        "cmp",
        with("").replace(
            "critique: c",
            &format!("critique: '{{{{ 1{} }}}}'", "<1".repeat(1900)),
        ),
    );
    t(
        "select",
        format!(
            "name: n\ndefaults: {{select: '{}'}}\nprinciples:\n{}",
            (0..50000).map(|i| format!("zz{i},")).collect::<String>(),
            (0..10000)
                .map(|i| format!("  - {{id: a{i}, critique: c, revision: m}}\n"))
                .collect::<String>()
        ),
    );
    t(
        "missing-guess",
        format!(
            "name: n\nextends: b.yaml\nprinciples:\n{}",
            (0..20000)
                .map(|i| format!("  - {{id: a{i}, critique: c}}\n"))
                .collect::<String>()
        ),
    );
    for (name, text) in [
        ("dots", ". ".repeat(200_000)),
        ("nums", "a. 1".repeat(100_000)),
        ("a5", "a. ".to_string() + &"5 ".repeat(200_000)),
        ("quote", "a.\"".repeat(100_000)),
        ("eg", "e.g. A ".repeat(60_000)),
        ("lines", "- a\n".repeat(100_000)),
        ("nl", "a\n".repeat(200_000)),
        ("closes", "a.".to_string() + &")".repeat(300_000)),
        ("dd", "A.)".repeat(130_000)),
        ("x", ".)) 5 ".repeat(70_000)),
    ] {
        let c: amend::constitution::Check = serde_json::from_str(r#"{"max_sentences":3,"max_words":5,"max_chars":9,"ends_with_any":["?"],"language":"en"}"#).unwrap();
        let a = std::time::Instant::now();
        let n = c.breaches(&text).len();
        println!("check {name} {} bytes {:?} {n}", text.len(), a.elapsed());
    }
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
        ("    <<: {}\n", UnknownKey, 7, 5, "its keys are id"),
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

//! Constitutions as a person meets them: the shipped ones, files that extend each other, and files with
//! something wrong in them.

mod hostile;
mod laid_out;
mod lint;
mod merge_keys;
mod problems;
mod schema;
mod syntax;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use amend::constitution::{
    Code, ConstitutionError, Expect, MAX_BYTES, Resolved, SHIPPED, Severity, Source, Status, load,
    resolve,
};

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
fn a_shipped_name_in_a_folder_is_the_path_of_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let error = load(&path("minimal")).unwrap_err();
    assert_eq!(error.problems[0].code, Code::Unreadable);
    assert!(
        error.to_string().contains("did you mean `minimal`"),
        "{error}"
    );

    fs::create_dir(path("sub")).unwrap();
    // A folder of that name takes nothing away.
    fs::create_dir(path("sub/minimal")).unwrap();
    for (extends, found) in [
        ("minimal", true),
        ("./minimal", false),
        ("../minimal", false),
        ("../typo/minimal", false),
    ] {
        fs::write(
            path("sub/mine.yaml"),
            format!("name: n\nextends: [{extends}]\n"),
        )
        .unwrap();
        match load(&path("sub/mine.yaml")) {
            Ok(loaded) => assert!(found, "{extends}: {:?}", loaded.resolved.files),
            Err(error) => {
                let code = error.problems[0].code;
                assert!(!found, "{extends}: {error}");
                let missing = [Code::ExtendsMissing, Code::Unreadable];
                assert!(missing.contains(&code), "{extends}: {error}");
            }
        }
    }
    let (problems, _) = wrong_files(&[("sub/c.yaml", "name: n\nextends: [../minimal]\n")]);
    assert_eq!(problems, [(Code::ExtendsMissing, 2, 11)]);
    good(&[("sub/c.yaml", "name: n\nextends: [minimal]\n")]);
}

#[test]
fn a_shipped_constitution_is_one_file_from_whichever_folder_it_is_named() {
    let base = "name: b\nextends: [minimal]\nprinciples: [{id: helpful, weight: 3}]\n";
    for extends in ["sub/b.yaml, minimal", "minimal, sub/b.yaml"] {
        let root = format!("name: n\nextends: [{extends}]\n");
        let resolved = good(&[("c.yaml", &root), ("sub/b.yaml", base)]);
        assert_eq!(resolved.files.len(), 3, "{:?}", resolved.files);
        let constitution = resolved.constitution;
        assert_eq!(constitution.principles.len(), 3);
        assert_eq!(constitution.principle("helpful").unwrap().weight, 3.0);
    }
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
    // The license and the version of the base are not this file's.
    let fields = resolved.fields.iter();
    let fields: Vec<_> = fields.map(|(key, at)| format!("{key} {at}")).collect();
    assert_eq!(fields, ["name root.yaml:1:7"]);
    let defaults = resolved.defaults.iter();
    let defaults: Vec<_> = defaults.map(|(key, at)| format!("{key} {at}")).collect();
    assert_eq!(
        defaults,
        ["rounds root.yaml:3:20", "select sub/base.yaml:5:31"]
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
fn a_file_reached_by_two_paths_is_applied_once() {
    let left = "name: left\nextends: /there/base.yaml\nprinciples: [{id: a, weight: 3}]";
    let resolved = good(&[
        ("root.yaml", "name: root\nextends: [base.yaml, left.yaml]"),
        ("base.yaml", TWO),
        ("left.yaml", left),
        ("/there/base.yaml", TWO),
    ]);
    let files = ["base.yaml", "left.yaml", "root.yaml"].map(Path::new);
    assert_eq!(resolved.files, files);
    assert_eq!(resolved.constitution.principle("a").unwrap().weight, 3.0);
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

    let nothing = wrong("name: n\nextends: [~]\n").0;
    assert_eq!(nothing, [(Code::WrongType, 2, 11)]);

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

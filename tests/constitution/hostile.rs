//! Bytes of any kind: the loader, the linter and the layout refuse them or take them, agree with each
//! other, and never panic.

use std::fs;
use std::path::Path;

use amend::constitution::layout::format;
use amend::constitution::lint::lint;
use amend::constitution::{Level, SHIPPED, load, starter};
use proptest::prelude::*;

/// What is done to a file: at a place, bytes are taken out and others put in.
type Edit = (prop::sample::Index, Vec<u8>, usize);

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let shards = prop::sample::select(vec![
        "",
        "\n",
        "\r",
        "\t",
        "  ",
        "- ",
        ": ",
        "#",
        "# amend: allow C050",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "|",
        ">-",
        "&a ",
        "*a",
        "!x ",
        "{{",
        "}}",
        "{% if %}",
        "---\n",
        "...\n",
        "%YAML 9\n",
        "? ",
        "~",
        ".nan",
        "é",
        "\u{feff}",
        "\u{2028}",
        "\0",
    ]);
    prop_oneof![
        4 => shards.prop_map(|shard| shard.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((any::<prop::sample::Index>(), bytes(), 0..30usize), 1..8)
}

fn edited(text: &str, edits: Vec<Edit>) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, shard, remove) in edits {
        let at = at.index(bytes.len() + 1);
        let end = (at + remove).min(bytes.len());
        bytes.splice(at..end, shard);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn loader_linter_and_layout_agree_on_damaged_files(which in 0..=SHIPPED.len(), edits in edits()) {
        let own = starter("mine");
        let text = SHIPPED.get(which).map_or(own.as_str(), |shipped| shipped.text);
        let bytes = edited(text, edits);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        fs::write(&path, &bytes).unwrap();
        let path = path.to_str().unwrap();

        let loaded = load(path);
        let report = lint(path);
        prop_assert_eq!(loaded.is_ok(), report.count(Level::Error) == 0);
        if let Ok(loaded) = &loaded {
            prop_assert_eq!(Some(&loaded.resolved.digest), report.digest.as_ref());
        }
        for problem in &report.problems {
            if let (Some(span), Some(text)) = (problem.span, report.texts.get(&problem.file)) {
                let lines = text.split(['\n', '\r']).count();
                prop_assert!((1..=lines + 1).contains(&span.line) && span.column >= 1, "{}", problem);
            }
        }
        let Ok(text) = String::from_utf8(bytes) else {
            prop_assert!(loaded.is_err());
            return Ok(());
        };
        if let Ok(laid_out) = format(Path::new(path), &text) {
            fs::write(path, &laid_out).unwrap();
            let again = load(path);
            prop_assert_eq!(again.map(|l| l.resolved.digest).ok(), loaded.map(|l| l.resolved.digest).ok());
            prop_assert_eq!(format(Path::new(path), &laid_out).unwrap(), laid_out);
        }
    }
}

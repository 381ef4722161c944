//! The rooms of the crate and who may know whom, read from the `use crate::` lines.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms that each room may use besides itself. `store::query` and the like count as their room.
const RULES: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("diff", &[]),
    ("generation", &["digest"]),
    ("statistics", &[]),
    ("likelihood", &["generation"]),
    ("prompt", &["digest", "generation"]),
    ("constitution", &["digest", "generation"]),
    ("verdict", &["constitution", "digest", "generation"]),
    (
        "chain",
        &["constitution", "digest", "generation", "prompt", "verdict"],
    ),
    ("judgement", &["chain"]),
    ("dataset", &["digest", "generation", "prompt"]),
    (
        "template",
        &["chain", "constitution", "digest", "generation", "prompt"],
    ),
    ("chat_template", &["digest", "generation"]),
    (
        "backend",
        &["chat_template", "digest", "generation", "likelihood"],
    ),
    (
        "engine",
        &[
            "backend",
            "chain",
            "constitution",
            "digest",
            "generation",
            "prompt",
            "template",
            "verdict",
        ],
    ),
    (
        "evaluation",
        &[
            "backend",
            "chain",
            "constitution",
            "digest",
            "engine",
            "generation",
            "likelihood",
            "prompt",
            "statistics",
            "verdict",
        ],
    ),
    (
        "store",
        &[
            "chain",
            "constitution",
            "diff",
            "digest",
            "engine",
            "evaluation",
            "generation",
            "judgement",
            "prompt",
            "verdict",
        ],
    ),
    (
        "quality",
        &[
            "backend",
            "chain",
            "constitution",
            "diff",
            "digest",
            "generation",
            "judgement",
            "prompt",
            "statistics",
            "store",
            "template",
            "verdict",
        ],
    ),
    (
        "export",
        &[
            "chain",
            "constitution",
            "dataset",
            "diff",
            "digest",
            "generation",
            "prompt",
            "quality",
            "store",
            "verdict",
        ],
    ),
    (
        "view",
        &[
            "chain",
            "constitution",
            "diff",
            "digest",
            "evaluation",
            "generation",
            "prompt",
            "store",
            "verdict",
        ],
    ),
    ("publish", &["export"]),
];

/// Names that stand in one room only.
const OWNED: &[(&str, &str)] = &[
    ("llama_cpp_2", "backend/llama"),
    ("rusqlite", "store"),
    ("println!", "cli"),
    ("print!(", "cli"),
    ("clap::", "cli"),
];

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The code of a file, without comments and without the tests at its end.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.starts_with("mod tests {"))
        .filter(|line| !line.trim_start().starts_with("//"))
}

fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("/tests/") || file.ends_with("testing.rs")
}

#[test]
fn rooms_use_only_the_rooms_they_may_know() {
    let files = sources();
    assert!(files.len() > 30, "the sources were not found");
    let mut broken = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| !is_test(file)) {
        let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == room(file)) else {
            continue;
        };
        for line in code(text) {
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if !used.is_empty() && used != room(file) && !allowed.contains(&used.as_str()) {
                    broken.push(format!("{file}: {}", line.trim()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "broken rules:\n{}", broken.join("\n"));
}

#[test]
fn every_room_has_a_rule() {
    for (file, _) in sources() {
        let room = room(&file).to_owned();
        let free = ["main", "lib", "cli"].contains(&room.as_str());
        assert!(
            free || RULES.iter().any(|(name, _)| *name == room),
            "no rule for {room}"
        );
    }
}

#[test]
fn libraries_and_printing_stay_in_their_rooms() {
    let mut broken = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| !is_test(file)) {
        for (name, owner) in OWNED {
            // `clap::ValueEnum` is derived on a plain enum of the domain.
            let found = code(text).filter(|line| !line.contains("clap::ValueEnum"));
            if !file.starts_with(owner) && found.into_iter().any(|line| line.contains(name)) {
                broken.push(format!("{file} names {name}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_engine_knows_no_backend_but_the_trait() {
    for (file, text) in sources()
        .iter()
        .filter(|(file, _)| {
            ["engine", "evaluation", "quality"]
                .iter()
                .any(|room| file.starts_with(room))
        })
        .filter(|(file, _)| !is_test(file))
    {
        assert!(
            !code(text).any(|line| line.contains("backend::llama")),
            "{file}"
        );
        assert!(
            !code(text).any(|line| line.contains("backend::scripted")),
            "{file}"
        );
        assert!(
            !code(text).any(|line| line.contains("backend::http")),
            "{file}"
        );
    }
}

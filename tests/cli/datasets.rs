//! Datasets as the `datasets` library reads them: every format, every kind of file, by the card and without.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::builder::Place;

const FORMATS: [&str; 17] = [
    "trl-sft",
    "trl-dpo",
    "trl-reward",
    "trl-kto",
    "trl-prompts",
    "trl-prm",
    "hf-cai",
    "axolotl-sft",
    "axolotl-dpo",
    "axolotl-kto",
    "llamafactory-sft",
    "llamafactory-dpo",
    "alpaca",
    "openai-sft",
    "openai-dpo",
    "mlx",
    "critic",
];

/// A store with chains of every kind: revised, clean, with a system message, with words that break tables.
fn place() -> Place {
    let place = Place::new();
    place.write(
        "prompts.jsonl",
        "{\"prompt\": \"What is the capital of France?\"}\n\
         {\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \"Name a river, a \\\"long\\\" one.\\nThen null, NA and N/A.\"}]}\n\
         {\"prompt\": \"null\"}\n\
         {\"prompt\": \"Wie heißt der höchste Berg der Alpen? 🏔\"}\n\
         {\"prompt\": \"How do I boil an egg?\"}\n\
         {\"prompt\": \"What is a noun?\"}\n",
    );
    place.write(
        "script.yaml",
        "rules:\n\
         - {contains: [egg], verdict: true, probability: 0.1, reply: '{\"violated\": false}'}\n\
         - {verdict: true, probability: 0.9, reply: '{\"violated\": true, \"quote\": \"Yes, it is\", \"critique\": \"It is vague.\", \"severity\": \"minor\"}'}\n\
         - {contains: [mend], verdict: false, reply: \"N/A, \\\"really\\\"\\nnull\"}\n\
         - {contains: [vague], verdict: false, reply: \"Paris, the capital, with a \\\"quote\\\"\\nand a line.\"}\n\
         - {verdict: false, reply: 'Yes, it is so. Surely.'}\n",
    );
    place
        .scripted(&[
            "run",
            "prompts.jsonl",
            "--rounds",
            "1",
            "--threshold",
            "0.5",
        ])
        .success();
    place
}

/// Runs a script of `tests/python` in an environment of `scripts/python-env`.
fn python(environment: &str, script: &str, args: &[String]) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("scripts/python-env"))
        .arg(environment)
        .arg(root.join("tests/python").join(script))
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a reader of CSV sees: lists as JSON text, and nothing for nothing.
fn flat(row: &Value) -> Value {
    let cell = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Array(_) | Value::Object(_) => Value::String(value.to_string()),
            Value::String(text) if text.is_empty() => Value::Null,
            // It may be missing, and readers of tables have no boolean that may.
            Value::Bool(violated) if name == "violated" => Value::String(violated.to_string()),
            value => value.clone(),
        };
        (name.clone(), value)
    };
    Value::Object(
        row.as_object()
            .unwrap()
            .iter()
            .map(cell)
            .collect::<Map<_, _>>(),
    )
}

fn rows(place: &Place, folder: &str) -> Value {
    let manifest: Value =
        serde_json::from_str(&place.read(&format!("{folder}/manifest.json"))).unwrap();
    let mut splits = Map::new();
    for split in manifest["splits"].as_array().unwrap() {
        let files = split["files"].as_array().unwrap().iter();
        let text: String = files
            .map(|file| place.read(&format!("{folder}/{}", file.as_str().unwrap())))
            .collect();
        let rows: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        splits.insert(split["name"].as_str().unwrap().to_owned(), json!(rows));
    }
    Value::Object(splits)
}

#[test]
fn the_datasets_library_reads_every_format_in_every_kind_as_it_was_written() {
    let place = place();
    let mut folders = Vec::new();
    for format in FORMATS {
        for kind in ["jsonl", "csv", "parquet"] {
            let folder = format!("{format}-{kind}");
            let args = [
                "export",
                "--format",
                format,
                "--as",
                kind,
                "--out",
                &folder,
                "--license",
                "cc-by-4.0",
                "--no-gates",
            ];
            let split = ["--splits", "train=0.6,test=0.4", "--seed", "3"];
            let shards = ["--shard-rows", "1"];
            let own_splits = ["hf-cai", "mlx"].contains(&format);
            let mut all = args.to_vec();
            if !own_splits {
                all.extend(split);
            }
            if kind == "parquet" {
                all.extend(shards);
            }
            let outcome = place.amend(&all);
            if ["mlx", "openai-sft", "openai-dpo"].contains(&format) && kind != "jsonl" {
                outcome.code(2).complains(&["is read from one JSONL file"]);
                continue;
            }
            outcome.success();
            folders.push(folder);
        }
    }
    let mut args = vec![place.path("cache").display().to_string()];
    args.extend(
        folders
            .iter()
            .map(|folder| place.path(folder).display().to_string()),
    );
    let found = python("datasets", "read_datasets.py", &args);
    for (folder, path) in folders.iter().zip(&args[1..]) {
        let (format, kind) = folder.rsplit_once('-').unwrap();
        let mut written = rows(&place, &format!("{format}-jsonl"));
        if kind == "csv" {
            for rows in written.as_object_mut().unwrap().values_mut() {
                *rows = rows.as_array().unwrap().iter().map(flat).collect();
            }
        }
        assert_eq!(found[path]["rows"], written, "{folder}");
        assert_eq!(found[path]["license"], "cc-by-4.0");
        assert_eq!(found[path]["size"], json!(["n<1K"]));
    }
}

#[test]
fn what_is_exported_can_be_verified_and_a_change_is_found() {
    let place = place();
    for format in FORMATS {
        place
            .amend(&["export", "--format", format, "--out", format, "--no-gates"])
            .success();
        let report = place
            .amend(&["verify", format, "--no-tokens", "--json"])
            .success();
        let report = &report.json_lines()[0];
        assert_eq!(
            (&report["format"], &report["faults"]),
            (&json!(format), &json!({}))
        );
        assert!(report["rows"].as_u64().unwrap() > 0, "{format}");
    }
    let text = place.read("trl-sft/train.jsonl");
    place.write("trl-sft/train.jsonl", text.replace("egg", "hen"));
    let found = place.amend(&["verify", "trl-sft", "--no-tokens"]).code(4);
    assert!(
        found.stdout.contains("train.jsonl: has another SHA-256"),
        "{}",
        found.stdout
    );
    place
        .amend(&["verify", "nowhere", "--no-tokens"])
        .code(2)
        .complains(&["nowhere", "manifest.json", "is not there", "amend export"]);
}

#[test]
fn a_dataset_is_measured_under_the_default_model() {
    let place = place();
    place
        .amend(&[
            "export",
            "--format",
            "trl-dpo",
            "--out",
            "dpo",
            "--no-gates",
        ])
        .success();
    let report = place
        .amend(&["verify", "dpo", "-m", "default", "--json"])
        .success();
    let tokens = &report.json_lines()[0]["tokens"];
    assert!(tokens["longest"].as_u64().unwrap() > 20, "{tokens}");
    assert_eq!(tokens["over"], 0);
    // What messages about a template name can be given here as well.
    let other = place
        .amend(&["verify", "dpo", "--chat-template", "zephyr", "--json"])
        .success();
    assert_ne!(other.json_lines()[0]["tokens"]["total"], tokens["total"]);
    place
        .amend(&["verify", "dpo", "--chat-template", "zephir"])
        .code(2)
        .complains(&["no chat template is called `zephir`"]);
    let short = place
        .amend(&["verify", "dpo", "-m", "default", "--max-length", "20"])
        .code(4);
    assert!(short.stdout.contains("20 are allowed"), "{}", short.stdout);
    place
        .amend(&["verify", "dpo", "-m", "no-such-model.gguf"])
        .code(2)
        .complains(&["no-such-model.gguf"]);
}

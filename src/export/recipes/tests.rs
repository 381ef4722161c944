//! Configurations are made for what was written.

use serde_json::{Value, json};

use super::*;
use crate::export::manifest::FileEntry;

fn manifest(splits: &[(&str, u64, &[&str])]) -> Manifest {
    let split = |(name, rows, files): &(&str, u64, &[&str])| json!({"name": name, "rows": rows, "num_bytes": 0, "files": files});
    serde_json::from_value(json!({
        "generator": "amend", "amend_version": "0", "format": "trl-sft", "all_rounds": false, "filter": "",
        "run": null, "chains": 1, "rows": 0, "dropped": {}, "flags": {}, "files": [], "runs": [],
        "splits": splits.iter().map(split).collect::<Vec<_>>(),
    }))
    .unwrap()
}

fn file(format: Format, kind: Kind, manifest: &Manifest, name: &str) -> Option<String> {
    let files = files(format, kind, manifest);
    files
        .into_iter()
        .find(|(file, _)| file == name)
        .map(|(_, text)| text)
}

#[test]
fn every_format_says_what_comes_next_and_leaves_no_blank_unfilled() {
    let manifest = manifest(&[("train", 9, &["train.jsonl"]), ("test", 1, &["test.jsonl"])]);
    for format in Format::all() {
        for kind in [Kind::Jsonl, Kind::Csv, Kind::Parquet] {
            let files = files(*format, kind, &manifest);
            assert_eq!(files.last().unwrap().0, "NEXT_STEPS.md");
            for (name, text) in files {
                assert!(
                    !text.contains("@KIND@") && !text.contains("@SPLITS@"),
                    "{name}"
                );
                if name.ends_with(".yaml") {
                    serde_yaml::from_str::<Value>(&text).unwrap();
                }
            }
        }
    }
}

#[test]
fn every_adapter_that_is_trained_ends_in_a_run() {
    let manifest = manifest(&[
        ("train", 9, &["train.jsonl"]),
        ("valid", 1, &["valid.jsonl"]),
    ]);
    let steps = |format| file(format, Kind::Jsonl, &manifest, "NEXT_STEPS.md").unwrap();
    for format in [
        Format::TrlSft,
        Format::TrlDpo,
        Format::AxolotlDpo,
        Format::LlamafactorySft,
        Format::Mlx,
    ] {
        let text = steps(format);
        assert!(text.contains("--lora ../adapter.gguf"), "{text}");
        // A folder and a name on the Hub are different options of the converter.
        assert!(text.contains("--base-model-id"), "{text}");
    }
    let text = steps(Format::Mlx);
    let (peft, gguf) = (
        text.find("python to_peft.py ../mlx-adapter"),
        text.find("convert_lora_to_gguf.py ../adapter "),
    );
    assert!(peft.is_some() && peft < gguf, "{text}");
    let script = file(Format::Mlx, Kind::Jsonl, &manifest, "to_peft.py").unwrap();
    assert!(script.contains("adapters.safetensors"));
    let yaml = file(Format::Mlx, Kind::Jsonl, &manifest, "mlx.yaml").unwrap();
    assert!(yaml.contains("adapter_path: ../mlx-adapter"), "{yaml}");
}

#[test]
fn shards_are_named_one_by_one() {
    let shards = [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
    ];
    let manifest = manifest(&[
        ("train", 9, &shards),
        ("valid", 2, &["data/valid-00000-of-00001.parquet"]),
    ]);
    let yaml = |format| {
        let text = file(format, Kind::Parquet, &manifest, "axolotl.yaml").unwrap();
        serde_yaml::from_str::<Value>(&text).unwrap()
    };
    let sft = yaml(Format::AxolotlSft);
    assert_eq!(sft["datasets"][0]["data_files"], json!(shards));
    assert_eq!(sft["datasets"][0]["ds_type"], "parquet");
    assert_eq!(
        sft["test_datasets"][0]["data_files"][0],
        "data/valid-00000-of-00001.parquet"
    );
    // What axolotl reads of preferences is the path alone.
    for format in [Format::AxolotlDpo, Format::AxolotlKto] {
        let preferences = yaml(format);
        for (index, shard) in shards.iter().enumerate() {
            assert_eq!(preferences["datasets"][index]["path"], *shard);
        }
        assert_eq!(
            preferences["test_datasets"][0]["path"],
            "data/valid-00000-of-00001.parquet"
        );
    }

    let info = file(
        Format::LlamafactoryDpo,
        Kind::Parquet,
        &manifest,
        "dataset_info.json",
    )
    .unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["amend_train_00001"]["file_name"], shards[1]);
    assert_eq!(info["amend_train_00000"]["ranking"], true);
    let yaml = file(
        Format::LlamafactoryDpo,
        Kind::Parquet,
        &manifest,
        "llamafactory.yaml",
    )
    .unwrap();
    let yaml: Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(yaml["dataset"], "amend_train_00000,amend_train_00001");
    assert_eq!(yaml["eval_dataset"], "amend_valid");
}

#[test]
fn what_axolotl_made_of_other_rows_is_not_found() {
    let place = |b3: &str| {
        let mut manifest = manifest(&[("train", 9, &["train.jsonl"])]);
        manifest.files.push(FileEntry {
            name: "train.jsonl".to_owned(),
            lines: 9,
            bytes: 9,
            sha256: String::new(),
            b3: b3.to_owned(),
        });
        let yaml = file(Format::AxolotlSft, Kind::Jsonl, &manifest, "axolotl.yaml").unwrap();
        let yaml: Value = serde_yaml::from_str(&yaml).unwrap();
        yaml["dataset_prepared_path"].as_str().unwrap().to_owned()
    };
    assert_eq!(place("b3:a"), place("b3:a"));
    assert_ne!(place("b3:a"), place("b3:b"));
    assert!(place("b3:a").starts_with("../axolotl-prepared/"));
}

#[test]
fn a_template_that_is_not_the_models_own_is_said() {
    let manifest = manifest(&[("train", 9, &["train.jsonl"])]);
    let yaml = |format| file(format, Kind::Jsonl, &manifest, "axolotl.yaml").unwrap();
    let kto = yaml(Format::AxolotlKto);
    assert!(kto.contains("llama3.ultra"), "{kto}");
    let read: Value = serde_yaml::from_str(&kto).unwrap();
    assert_eq!(read["datasets"][0]["type"], "chatml.ultra");
    assert!(yaml(Format::AxolotlDpo).contains("chat_template: tokenizer_default"));
}

#[test]
fn the_script_knows_its_splits_and_which_columns_are_json_text() {
    let halves = manifest(&[
        ("train_sft", 4, &["train_sft.csv"]),
        ("train_prefs", 4, &["train_prefs.csv"]),
        ("test_sft", 1, &["test_sft.csv"]),
    ]);
    let script = file(Format::HfCai, Kind::Csv, &halves, "train.py").unwrap();
    assert!(
        script.contains(r#"SPLITS = ["train_sft","test_sft"]"#),
        "{script}"
    );
    assert!(script.contains(r#"LISTS = ["messages","chosen","rejected"]"#));
    let whole = manifest(&[("train", 1, &["train.jsonl"])]);
    let script = file(Format::TrlKto, Kind::Jsonl, &whole, "train.py").unwrap();
    assert!(script.contains(r#"SPLITS = ["train"]"#) && script.contains("LISTS = []"));
    assert!(
        script.contains("default=2, help=\"rows of a step"),
        "{script}"
    );
}

#[test]
fn the_guide_names_the_commands_and_folders_that_are_written() {
    let guide = include_str!("../../../docs/fine-tuning.md");
    let manifest = manifest(&[
        ("train", 9, &["train.jsonl"]),
        ("valid", 1, &["valid.jsonl"]),
    ]);
    for (format, config) in [
        (Format::TrlSft, None),
        (Format::AxolotlSft, Some(("axolotl.yaml", "output_dir"))),
        (
            Format::LlamafactorySft,
            Some(("llamafactory.yaml", "output_dir")),
        ),
        (Format::Mlx, Some(("mlx.yaml", "adapter_path"))),
    ] {
        let steps = file(format, Kind::Jsonl, &manifest, "NEXT_STEPS.md").unwrap();
        let train = steps.split("## Train").nth(1).unwrap();
        let train = train.split("\n## ").next().unwrap();
        let commands = train.split("```").nth(1).unwrap();
        for command in commands.lines().skip(1) {
            assert!(guide.contains(command), "{command}");
        }
        let Some((name, key)) = config else { continue };
        let text = file(format, Kind::Jsonl, &manifest, name).unwrap();
        let yaml: Value = serde_yaml::from_str(&text).unwrap();
        let left = yaml[key].as_str().unwrap();
        // From the folder of the export, or from the one that the guide works in.
        assert!(
            guide.contains(left) || guide.contains(&format!("`{}`", left.replace("../", "out/"))),
            "{left}"
        );
    }
}

//! Splits, shards, kinds of files, general data, and the card.

use std::collections::BTreeMap;

use super::*;

/// A store of chains with these prompts, one chain each.
fn place(prompts: &[String]) -> Place {
    let place = Place {
        dir: tempfile::tempdir().unwrap(),
    };
    let mut writer = Writer::open(&place.dir.path().join("amend.db")).unwrap();
    writer.begin_run(&new_run("run-a")).unwrap();
    for (position, text) in prompts.iter().enumerate() {
        let prompt = Prompt {
            id: PromptId(format!("p{position}")),
            messages: vec![Message::user(text)],
            metadata: serde_json::Map::new(),
        };
        record_answer(&mut writer, position as u64, prompt);
    }
    writer.commit().unwrap();
    place
}

fn record_answer(writer: &mut Writer, position: u64, prompt: Prompt) {
    let id = ChainId::new("run-a", &prompt.id, 0);
    let start = ChainStart {
        id: id.clone(),
        position,
        prompt,
        sample: 0,
    };
    writer.begin_chain(&start).unwrap();
    let texts = [
        (StepKind::Draft, "Draft.".to_owned()),
        (StepKind::Revision, format!("Revision {position}.")),
    ];
    for (ordinal, (kind, output)) in texts.into_iter().enumerate() {
        let step = Step {
            ordinal: ordinal as u32,
            round: ordinal as u32,
            kind,
            principle: (ordinal > 0).then(|| "calm".to_owned()),
            calls: Vec::new(),
            output,
            flags: Vec::new(),
            verdict: None,
            adopted: true,
        };
        writer.record_step(&id, &step).unwrap();
    }
    let end = ChainEnd {
        stop: StopReason::RoundsDone,
        draft: Some("Draft.".to_owned()),
        last: Some(format!("Revision {position}.")),
        revised: true,
        rounds: 1,
        regressions: Vec::new(),
        error: None,
    };
    writer.end_chain(&id, &end).unwrap();
}

fn numbered(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("What is {number}?"))
        .collect()
}

fn rows_of(place: &Place, manifest: &Manifest, split: &str) -> Vec<Value> {
    let entry = manifest.splits.iter().find(|entry| entry.name == split);
    entry
        .into_iter()
        .flat_map(|entry| &entry.files)
        .flat_map(|file| {
            let kind = Kind::parse(&manifest.kind).unwrap();
            let columns = Format::parse(&manifest.format).unwrap().layout().columns();
            let rows = table::read(kind, &columns, &place.out().join(file)).unwrap();
            rows.map(|(_, row)| row.unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

fn prompt_of(row: &Value) -> String {
    row["messages"][0]["content"]
        .as_str()
        .unwrap()
        .to_lowercase()
}

#[test]
fn rows_of_one_prompt_are_in_one_split_however_they_are_written() {
    let mut prompts = numbered(40);
    prompts.extend((0..40).map(|number| format!("WHAT  is {number}? ")));
    let place = place(&prompts);
    for kind in [Kind::Jsonl, Kind::Csv, Kind::Parquet] {
        let manifest = place
            .export(&ExportOptions {
                kind,
                splits: Some("train=0.7,test=0.3".parse().unwrap()),
                seed: 5,
                ..options(Format::TrlSft)
            })
            .unwrap();
        let mut sides: BTreeMap<String, &str> = BTreeMap::new();
        for split in ["train", "test"] {
            for row in rows_of(&place, &manifest, split) {
                let words = prompt_of(&row)
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ");
                assert_eq!(*sides.entry(words).or_insert(split), split);
            }
        }
        let rows: Vec<_> = manifest.splits.iter().map(|split| split.rows).collect();
        assert_eq!((sides.len(), rows), (40, vec![56, 24]));
        assert_eq!(manifest.division.unwrap().groups, 40);
    }
}

#[test]
fn prompts_that_are_nearly_the_same_are_in_one_split() {
    let topic = |number: usize| {
        (0..30)
            .map(|word| format!("w{number}x{word}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let topics: Vec<String> = (0..12).map(topic).collect();
    let ask = |topic: &str, word: &str| format!("{topic} for a {word}");
    let mut prompts: Vec<String> = topics.iter().map(|topic| ask(topic, "child")).collect();
    prompts.extend(topics.iter().map(|topic| ask(topic, "grown-up")));
    let place = place(&prompts);
    let manifest = place
        .export(&ExportOptions {
            splits: Some("train=0.5,test=0.5".parse().unwrap()),
            ..options(Format::TrlSft)
        })
        .unwrap();
    let test: Vec<String> = rows_of(&place, &manifest, "test")
        .iter()
        .map(prompt_of)
        .collect();
    for row in rows_of(&place, &manifest, "train") {
        let topic = topics
            .iter()
            .find(|topic| prompt_of(&row).contains(topic.as_str()))
            .unwrap();
        assert!(
            !test
                .iter()
                .any(|prompt| prompt.contains(&format!("{topic} "))),
            "{row}"
        );
    }
    let report = verify::verify(&place.out(), 1024, None).unwrap();
    assert!(report.holds(), "{report:?}");
}

#[test]
fn another_seed_divides_otherwise_and_the_same_one_alike() {
    let place = place(&numbered(30));
    let test = |seed| {
        let split = ExportOptions {
            splits: Some("train=0.5,test=0.5".parse().unwrap()),
            seed,
            ..options(Format::TrlSft)
        };
        let manifest = place.export(&split).unwrap();
        rows_of(&place, &manifest, "test")
    };
    assert_eq!(test(1), test(1));
    assert_ne!(test(1), test(2));
}

#[test]
fn shards_are_numbered_as_on_the_hub_and_stale_ones_go() {
    let place = place(&numbered(10));
    let sharded = |rows, kind| ExportOptions {
        kind,
        shard: ShardLimit {
            rows: Some(rows),
            bytes: None,
        },
        ..options(Format::TrlSft)
    };
    let manifest = place.export(&sharded(4, Kind::Jsonl)).unwrap();
    let files: Vec<_> = manifest
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.lines))
        .collect();
    assert_eq!(
        files[..3],
        [
            ("data/train-00000-of-00003.jsonl", 4),
            ("data/train-00001-of-00003.jsonl", 4),
            ("data/train-00002-of-00003.jsonl", 2)
        ]
    );
    let all = rows_of(&place, &manifest, "train");
    let manifest = place.export(&sharded(5, Kind::Parquet)).unwrap();
    assert_eq!(rows_of(&place, &manifest, "train"), all);
    let mut data: Vec<_> = fs::read_dir(place.out().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    data.sort();
    assert_eq!(
        data,
        [
            "train-00000-of-00002.parquet",
            "train-00001-of-00002.parquet"
        ]
    );
    place.export(&options(Format::TrlSft)).unwrap();
    assert!(!place.out().join("data").exists());
}

#[test]
fn every_format_is_written_in_every_kind_and_reads_back() {
    let place = place(&numbered(6));
    for format in Format::all() {
        if *format == Format::Critic || *format == Format::TrlPrm {
            // These need verdicts and model calls.
            continue;
        }
        for kind in [Kind::Jsonl, Kind::Csv, Kind::Parquet] {
            let wanted = ExportOptions {
                kind,
                ..options(*format)
            };
            let manifest = match place.export(&wanted) {
                Ok(manifest) => manifest,
                Err(ExportError::Options(_)) if kind != Kind::Jsonl => continue,
                Err(error) => panic!("{format:?} {kind:?}: {error}"),
            };
            let mut rows = 0;
            for split in &manifest.splits {
                for row in rows_of(&place, &manifest, &split.name) {
                    assert_eq!(columns::check(&format.layout().columns(), &row), Ok(()));
                    format.layout().lesson(&row).unwrap();
                    rows += 1;
                }
            }
            assert_eq!(rows, manifest.rows, "{format:?} {kind:?}");
        }
    }
}

#[test]
fn formats_have_the_splits_that_their_readers_look_for() {
    let place = place(&numbered(20));
    let names = |format, splits: Option<&str>| -> Vec<(String, u64)> {
        let wanted = ExportOptions {
            splits: splits.map(|splits| splits.parse().unwrap()),
            ..options(format)
        };
        let manifest = place.export(&wanted).unwrap();
        manifest
            .splits
            .into_iter()
            .map(|split| (split.name, split.rows))
            .collect()
    };
    let named = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
        pairs
            .iter()
            .map(|(name, rows)| ((*name).to_owned(), *rows))
            .collect()
    };
    assert_eq!(
        names(Format::Mlx, None),
        named(&[("train", 18), ("valid", 2)])
    );
    assert_eq!(
        names(Format::HfCai, None),
        named(&[
            ("train_sft", 9),
            ("train_prefs", 9),
            ("test_sft", 1),
            ("test_prefs", 1)
        ])
    );
    assert_eq!(
        names(Format::HfCai, Some("train=0.8,test=0.2")),
        named(&[
            ("train_sft", 8),
            ("train_prefs", 8),
            ("test_sft", 2),
            ("test_prefs", 2)
        ])
    );
    let wrong = ExportOptions {
        splits: Some("train=0.5,eval=0.5".parse().unwrap()),
        ..options(Format::Mlx)
    };
    let error = place.export(&wrong).unwrap_err().to_string();
    assert!(error.contains("not for eval"), "{error}");
}

#[test]
fn personal_data_keeps_a_row_out_of_every_format() {
    let prompts = ["What is 1?", "Write to ada@example.org about it?"];
    let place = place(&prompts.map(str::to_owned));
    let store = Store::open_read(&place.dir.path().join("amend.db")).unwrap();
    let settings = Settings {
        personal_data: true,
        ..Settings::none()
    };
    let filter = Filter::default();
    let gating = gate(&store, &filter, None, &settings, Helpers::default()).unwrap();
    let mut written = 0;
    for format in <Format as clap::ValueEnum>::value_variants() {
        let out = place.dir.path().join(format.as_str());
        // Nobody judged these chains, so some formats have no row at all.
        match export(&store, &out, &options(*format), &gating) {
            Ok(_) => written += 1,
            Err(ExportError::NoRows(_)) => continue,
            Err(error) => panic!("{format:?}: {error}"),
        }
        for entry in fs::read_dir(&out).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read(&path).unwrap();
            let found = text.windows(4).any(|window| window == b"ada@");
            assert!(!found, "{}", path.display());
        }
    }
    assert!(written >= 14, "{written}");
}

#[test]
fn general_data_is_mixed_into_the_first_split_and_shares_no_prompt_with_others() {
    let place = place(&numbered(20));
    let general = place.dir.path().join("general.jsonl");
    let lines: Vec<String> = (0..40)
        .map(|number| {
            json!({"prompt": format!("what is {number}?"), "response": "General."}).to_string()
        })
        .collect();
    fs::write(&general, lines.join("\n") + "\n{\"prompt\": 3}\n").unwrap();
    let mixed = |ratio| ExportOptions {
        splits: Some("train=0.5,test=0.5".parse().unwrap()),
        replay: Some(ReplayOptions {
            path: general.clone(),
            ratio,
        }),
        ..options(Format::TrlSft)
    };
    let manifest = place.export(&mixed(0.5)).unwrap();
    let replay = manifest.replay.clone().unwrap();
    assert_eq!((replay.rows, replay.file.as_str()), (5, "general.jsonl"));
    assert_eq!((manifest.rows, manifest.splits[0].rows), (25, 15));
    let test: Vec<_> = rows_of(&place, &manifest, "test")
        .iter()
        .map(prompt_of)
        .collect();
    for row in rows_of(&place, &manifest, "train") {
        assert!(!test.contains(&prompt_of(&row)), "{row}");
    }
    // What is there is taken, and no more.
    let replay = place.export(&mixed(10.0)).unwrap().replay.unwrap();
    assert_eq!((replay.rows, replay.skipped), (30, 11));

    // What `amend verify` would find fault with is passed over.
    let odd = [
        json!({"prompt": " ", "response": "Blank."}),
        json!({"messages": [{"role": "system", "content": ""}, {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Blank."}]}),
        json!({"prompt": "Who speaks?", "response": {"role": "user", "content": "I do."}}),
        json!({"prompt": "Well?", "completion": [{"role": "assistant", "content": "Fine."}]}),
    ];
    fs::write(&general, odd.map(|row| format!("{row}\n")).concat()).unwrap();
    let replay = place.export(&mixed(10.0)).unwrap().replay.unwrap();
    assert_eq!((replay.rows, replay.skipped), (1, 3));

    fs::write(&general, "{\"prompt\": 3}\n").unwrap();
    let error = place.export(&mixed(0.5)).unwrap_err().to_string();
    assert!(
        error.contains("general.jsonl: no row can be used; the first: line 1"),
        "{error}"
    );
    let prompts = ExportOptions {
        format: Format::TrlPrompts,
        ..mixed(0.5)
    };
    let error = place.export(&prompts).unwrap_err().to_string();
    assert!(error.contains("trl-prompts is none"), "{error}");
}

#[test]
fn prompts_are_given_once_whatever_became_of_their_chains() {
    let place = Place::new(&[CLEAN, FAILED, RUNNING]);
    place.record("run-b", &[CLEAN]);
    let manifest = place.export(&options(Format::TrlPrompts)).unwrap();
    assert_eq!((manifest.rows, manifest.chains), (3, 4));
    assert_eq!(manifest.dropped, counts(&[("prompt-seen", 1)]));
}

#[test]
fn texts_without_a_pair_are_judged_by_themselves() {
    let place = Place::new(&[CLEAN, REVISED, FAILED]);
    let manifest = place.export(&options(Format::TrlKto)).unwrap();
    let rows: Vec<_> = place
        .lines(ROWS_FILE)
        .iter()
        .map(|row| {
            (
                row["completion"][0]["content"].clone(),
                row["label"].clone(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            (json!("Fine as it is."), json!(true)),
            (json!("Best."), json!(true)),
            (json!("Bad."), json!(false))
        ]
    );
    assert_eq!(manifest.dropped, counts(&[("failed", 1)]));
}

#[test]
fn a_round_is_a_row_with_the_text_that_it_revises() {
    let place = Place::new(&[CLEAN, REVISED]);
    let manifest = place.export(&options(Format::HfCai)).unwrap();
    let mut rows: Vec<_> = manifest
        .splits
        .iter()
        .flat_map(|split| rows_of(&place, &manifest, &split.name))
        .map(|row| {
            (
                row["init_response"].clone(),
                row["revision_response"].clone(),
            )
        })
        .collect();
    rows.sort_by_key(|(before, _)| before.to_string());
    assert_eq!(
        rows,
        [
            (json!("Bad."), json!("Better.")),
            (json!("Better. "), json!("Best."))
        ]
    );
    assert_eq!(
        manifest.dropped,
        counts(&[("equal-texts", 1), ("not-revised", 1)])
    );
}

#[test]
fn the_card_has_front_matter_and_nothing_in_it_can_be_broken_by_texts() {
    let place = place(&numbered(3));
    let card = |title: &str| {
        let wanted = ExportOptions {
            card: CardOptions {
                license: Some("cc-by-4.0".to_owned()),
                title: Some(title.to_owned()),
            },
            ..options(Format::TrlDpo)
        };
        place.export(&wanted).unwrap();
        fs::read_to_string(place.out().join("README.md")).unwrap()
    };
    let text = card("x\"\n---\n: [y");
    assert!(text.contains("\n# x\" --- : \\[y\n"), "{text}");
    assert!(card("<img src=x>").contains("\n# \\<img src=x\\>\n"));
    let (_, rest) = text.split_once("---\n").unwrap();
    let (front, body) = rest.split_once("\n---\n").unwrap();
    let front: Value = serde_yaml::from_str(front).unwrap();
    assert_eq!(front["pretty_name"], "x\"\n---\n: [y");
    assert_eq!(front["license"], "cc-by-4.0");
    assert_eq!(front["size_categories"], json!(["n<1K"]));
    assert_eq!(
        front["configs"][0]["data_files"][0]["path"],
        json!(["train.jsonl"])
    );
    assert_eq!(front["dataset_info"]["splits"][0]["num_examples"], 3);
    assert!(body.contains("plain") && body.contains("Tiny") && body.contains("2212.08073"));
    assert!(body.contains("```yaml\nschema: 1\nname: plain\n"), "{body}");
}

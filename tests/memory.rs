//! Gating and exporting take little memory for every chain, however many there are: what was decided, and what tells
//! prompts apart, lies on disk. In a binary of its own, whose allocator counts for all threads, and one test, so that
//! nothing else is counted. SQLite has an allocator of its own and is not counted; its caches are bounded.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use amend::export::{ExportOptions, Format, Kind, ReplayOptions, export};
use amend::quality::gates::{Gating, Helpers, Settings, gate};
use amend::store::{Filter, Store};
use serde_json::{Value, json};

struct Measuring;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(held, Ordering::Relaxed);
}

// Everything is the system's; only sizes are counted.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        add(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// What some work gives, the bytes that are held because of it afterwards, and the most that were held meanwhile.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let value = work();
    let after = |bytes: &AtomicUsize| bytes.load(Ordering::Relaxed).saturating_sub(before);
    (value, after(&HELD), after(&MOST))
}

/// Eight words that no other number shares.
fn own(number: u64) -> String {
    let word = |place: u64| format!("w{number}x{place}");
    (0..8).map(word).collect::<Vec<_>>().join(" ")
}

/// Text of 16 KiB and more that cannot be compressed well.
fn long(number: u64) -> String {
    let word = |place: u64| {
        let mixed = (number << 16 | place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            "{:x}",
            (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        )
    };
    (0..1000).map(word).collect::<Vec<_>>().join(" ")
}

/// A reply that holds what a critique quotes, and nothing that looks like personal data, as numbers that are made up
/// do now and then.
const SCRIPT: &str = r#"
rules:
  - {verdict: true, probability: 0.9, reply: '{"violated": true, "quote": "Rain falls", "critique": "It is vague.", "severity": "minor"}'}
  - {contains: [vague], verdict: false, reply: Rain falls from high clouds.}
  - {reply: Rain falls from clouds.}
"#;

/// A store of chains that a script wrote, one for each prompt, of so many rounds. All prompts are control prompts.
fn store(path: &Path, chains: u64, prompt: fn(u64) -> String, rounds: &str) {
    let prompts = path.with_extension("jsonl");
    let prompt = |number| json!({"prompt": prompt(number), "control": "benign"});
    write_lines(&prompts, (0..chains).map(prompt));
    let script = path.with_extension("yaml");
    std::fs::write(&script, SCRIPT).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_amend"))
        .arg("run")
        .arg(&prompts)
        .args("-c hhh --backend scripted --threshold 0.5 --parallel 64".split(' '))
        .args(["--rounds", rounds, "--script"])
        .args([&script, Path::new("--db"), path])
        .env_remove("AMEND_LOG")
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

fn write_lines(path: &Path, lines: impl Iterator<Item = Value>) {
    let lines = lines.map(|line| format!("{line}\n"));
    std::fs::write(path, lines.collect::<String>()).unwrap();
}

/// Bytes that gating holds afterwards and at most.
fn gating(store: &Store, settings: &Settings, chains: u64) -> (Gating, [usize; 2]) {
    let all = Filter::all();
    let gate = || gate(store, &all, None, settings, Helpers::default()).unwrap();
    let (gating, held, most) = measured(gate);
    assert_eq!(gating.figures.chains, chains);
    (gating, [held, most])
}

/// Bytes that exporting holds at most.
fn exporting(store: &Store, gating: &Gating, options: &ExportOptions) -> usize {
    let out = tempfile::tempdir().unwrap();
    let export = || export(store, out.path(), options, gating).unwrap();
    let (manifest, _, most) = measured(export);
    assert_eq!(manifest.dropped_total(), 0, "{:?}", manifest.dropped);
    most
}

/// What is measured, the bytes, and how many a chain may take.
type Bytes = Vec<(&'static str, usize, u64)>;

/// Gates, and an export with splits.
fn gates(path: &Path, chains: u64) -> Bytes {
    let store = Store::open_read(path).unwrap();
    let options = divided("train=0.9,test=0.1");
    // Runs of words are held as long as gates have room for them, which has an end beyond these chains.
    let all = Settings {
        control: false,
        ..Settings::default()
    };
    [(Settings::none(), 20), (all, 200)]
        .into_iter()
        .flat_map(|(settings, most_at_once)| {
            let (gating, [held, most]) = gating(&store, &settings, chains);
            assert_eq!(gating.figures.kept, chains);
            [
                ("decisions", held, 20),
                ("gating", most, most_at_once),
                ("splits", exporting(&store, &gating, &options), 60),
            ]
        })
        .collect()
}

/// Exports that have to know what came before.
fn exports(path: &Path, chains: u64) -> Bytes {
    let store = Store::open_read(path).unwrap();
    let (open, _) = gating(&store, &Settings::none(), chains);
    let prompts = ExportOptions::new(Format::TrlPrompts);
    let general = path.with_extension("general.jsonl");
    let row = |number| json!({"prompt": own(chains + number), "response": "Hail."});
    write_lines(&general, (0..chains / 10).map(row));
    let replay = ExportOptions {
        replay: Some(ReplayOptions {
            path: general,
            ratio: 1.0,
        }),
        ..divided("train=0.1,test=0.9")
    };
    let controls = Settings {
        control: true,
        duplicate: true,
        ..Settings::none()
    };
    let (closed, _) = gating(&store, &controls, chains);
    let benign = ExportOptions {
        benign: true,
        ..ExportOptions::new(Format::TrlSft)
    };
    vec![
        ("prompts", exporting(&store, &open, &prompts), 8),
        ("replay", exporting(&store, &open, &replay), 60),
        ("benign", exporting(&store, &closed, &benign), 8),
    ]
}

fn divided(splits: &str) -> ExportOptions {
    ExportOptions {
        splits: Some(splits.parse().unwrap()),
        ..ExportOptions::new(Format::TrlSft)
    }
}

#[test]
fn a_chain_takes_few_bytes() {
    let folder = tempfile::tempdir().unwrap();
    chains_take_few_bytes(folder.path());
    columns_have_a_limit(folder.path());
}

fn chains_take_few_bytes(folder: &Path) {
    const FEW: u64 = 10_000;
    const MANY: u64 = 40_000;
    let bytes = |name: &str, chains: u64| -> Bytes {
        let path = folder.join(name);
        store(&path, chains, own, "0");
        let measured = [gates, exports].map(|measure| measure(&path, chains));
        measured.concat()
    };
    let (few, many) = (bytes("few.db", FEW), bytes("many.db", MANY));
    for ((what, few, allowed), (_, many, _)) in few.into_iter().zip(many) {
        let each = many.saturating_sub(few) as u64 / (MANY - FEW);
        println!("{what}: {each} bytes for each chain; {few}, {many}");
        assert!(
            each <= allowed,
            "{what}: {each} bytes for each chain, and {allowed} are allowed"
        );
    }
}

/// Columns are held back until a group of rows is full: all files of an export share the room for that.
fn columns_have_a_limit(folder: &Path) {
    const CHAINS: u64 = 1500;
    const MOST: usize = 48 << 20;
    let path = folder.join("wide.db");
    store(&path, CHAINS, long, "1");
    let store = Store::open_read(&path).unwrap();
    let (gating, _) = gating(&store, &Settings::none(), CHAINS);
    let options = ExportOptions {
        kind: Kind::Parquet,
        ..ExportOptions::new(Format::HfCai)
    };
    let most = exporting(&store, &gating, &options);
    println!("columns: {most} bytes");
    assert!(most <= MOST, "{most} bytes, and {MOST} are allowed");
}

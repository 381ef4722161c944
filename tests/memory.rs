//! Gating and exporting take little memory for every chain, however many there are: what was decided, and what tells
//! prompts apart, lies on disk. In a binary of its own, whose allocator counts for all threads. SQLite has an allocator
//! of its own and is not counted; its caches are bounded.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use amend::export::{ExportOptions, Format, export};
use amend::quality::gates::{Gating, Helpers, Settings, gate};
use amend::store::{Filter, Store};
use serde_json::json;

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

/// Words that no other number shares.
fn own(number: u64) -> String {
    let word = |place: u64| format!("w{number}x{place}");
    (0..8).map(word).collect::<Vec<_>>().join(" ")
}

/// A store of drafts that a script wrote, one for each prompt.
fn store(path: &Path, chains: u64) {
    let prompts = path.with_extension("jsonl");
    let line = |number| format!("{}\n", json!({"prompt": own(number)}));
    std::fs::write(&prompts, (0..chains).map(line).collect::<String>()).unwrap();
    // No draft may look like personal data, as numbers that are made up do now and then.
    let script = path.with_extension("yaml");
    std::fs::write(&script, "rules: [{reply: Rain falls from clouds.}]").unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_amend"))
        .arg("run")
        .arg(&prompts)
        .args("-c hhh --backend scripted --rounds 0 --parallel 64 --script".split(' '))
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

/// Bytes that gating holds afterwards and at most, and that exporting holds at most.
fn bytes(path: &Path, settings: &Settings, chains: u64) -> [usize; 3] {
    let store = Store::open_read(path).unwrap();
    let all = Filter::all();
    let gate = || gate(&store, &all, None, settings, Helpers::default()).unwrap();
    let (gating, held, most): (Gating, _, _) = measured(gate);
    assert_eq!(gating.figures.kept, chains);
    let options = ExportOptions {
        splits: Some("train=0.9,test=0.1".parse().unwrap()),
        ..ExportOptions::new(Format::TrlSft)
    };
    let out = tempfile::tempdir().unwrap();
    let export = || export(&store, out.path(), &options, &gating).unwrap();
    let (manifest, _, exporting) = measured(export);
    assert_eq!(manifest.rows, chains);
    [held, most, exporting]
}

#[test]
fn a_chain_takes_few_bytes() {
    const FEW: u64 = 10_000;
    const MANY: u64 = 40_000;
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (folder.path().join("few.db"), folder.path().join("many.db"));
    store(&few, FEW);
    store(&many, MANY);
    // Runs of words are held as long as gates have room for them, which has an end beyond these chains.
    for (settings, most) in [
        (Settings::none(), [40, 120, 200]),
        (Settings::default(), [40, 250, 200]),
    ] {
        let few = bytes(&few, &settings, FEW);
        let many = bytes(&many, &settings, MANY);
        let each: Vec<u64> = few
            .iter()
            .zip(many)
            .map(|(few, many)| many.saturating_sub(*few) as u64 / (MANY - FEW))
            .collect();
        println!("{each:?} bytes for each chain; {few:?}, {many:?}");
        let fits = each.iter().zip(most).all(|(each, most)| *each <= most);
        assert!(
            fits,
            "{each:?} bytes for each chain, and {most:?} are allowed"
        );
    }
}

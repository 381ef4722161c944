//! What commands say of a run that goes on.

use std::process::{Child, Stdio};

use crate::builder::Place;

const CONSTITUTION: &str = "
schema: 1
name: two
version: 1.0.0
principles:
  - {id: short, critique: Is it long?, revision: Cut it.}
  - {id: polite, critique: Is it rude?, revision: Be polite.}
";

/// Looks that are enough to see what may be written between two reads.
const LOOKS: u32 = 12;

/// The last chain waits for a file that nobody writes, so that the run is there for as long as it is looked at.
const SCRIPT: &str = "
rules:
  - {contains: ['Question number 19999'], until: never}
";

/// A run that is stopped when it is looked at no more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn figures_of_runs_and_of_their_principles_are_of_one_moment() {
    let place = Place::new();
    let prompt = |n| format!("{{\"prompt\": \"Question number {n}\"}}\n");
    let prompts: String = (0..20_000).map(prompt).collect();
    place
        .write("c.yaml", CONSTITUTION)
        .write("script.yaml", SCRIPT)
        .write("p.jsonl", prompts);
    let run = "run p.jsonl -c c.yaml --backend scripted --script script.yaml --select all --rounds 1 --revise never --parallel 1";
    let run = place
        .command(run.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut run = Running(run.unwrap());
    let mut looked = 0;
    while looked < LOOKS {
        assert!(run.0.try_wait().unwrap().is_none(), "the run ended");
        let stats = place.amend(&["stats", "--json"]);
        // The store is not there yet, or nothing in it.
        if stats.code != Some(0) || stats.stdout.lines().count() < 2 {
            continue;
        }
        looked += 1;
        let lines = stats.json_lines();
        let number = |at: usize, name: &str| lines[at][name].as_u64().unwrap();
        let asked: u64 = (1..lines.len()).map(|at| number(at, "asked")).sum();
        // What is no critique is a draft, of which every chain has one that has not just begun.
        let (steps, chains) = (number(0, "steps"), number(0, "chains"));
        assert!(
            (chains - 1..=chains).contains(&steps.saturating_sub(asked)),
            "{lines:?}"
        );
    }
}

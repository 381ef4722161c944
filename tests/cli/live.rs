//! What commands say of a run that goes on.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use amend::chain::ChainId;
use amend::store::{LabelAction, Labels};
use serde_json::Value;

use crate::builder::{Outcome, Place};

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

/// A folder with so many prompts.
fn place(prompts: u32) -> Place {
    let place = Place::new();
    let prompt = |n| format!("{{\"prompt\": \"Question number {n}\"}}\n");
    let lines: String = (0..prompts).map(prompt).collect();
    // The last chain waits for a file that nobody writes.
    let last = prompts - 1;
    let script = format!("rules:\n  - {{contains: ['Question number {last}'], until: never}}\n");
    place
        .write("c.yaml", CONSTITUTION)
        .write("endless.yaml", script)
        .write("p.jsonl", lines);
    place
}

/// A draft and two critiques of each prompt, one chain after the other.
fn run(place: &Place, more: &[&str]) -> Command {
    let run = "run p.jsonl -c c.yaml --backend scripted --select all --rounds 1 --revise never --parallel 1";
    let mut run = place.command(run.split(' ').chain(more.iter().copied()));
    run.stdout(Stdio::null()).stderr(Stdio::null());
    run
}

/// A run that is stopped when it is looked at no more.
struct Running(Child);

impl Running {
    /// Begins one that does not end by itself.
    fn begin(place: &Place) -> Self {
        Self(run(place, &["--script", "endless.yaml"]).spawn().unwrap())
    }

    fn goes_on(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn figures_of_runs_and_of_their_principles_are_of_one_moment() {
    let place = place(20_000);
    let mut run = Running::begin(&place);
    let mut looked = 0;
    while looked < LOOKS {
        assert!(run.goes_on(), "the run ended");
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

#[test]
fn runs_that_are_compared_and_their_pairs_are_of_one_moment() {
    let place = place(20_000);
    let before = run(&place, &["--limit", "1-20", "--seed", "7"]).status();
    assert!(before.unwrap().success());
    let mut run = Running::begin(&place);
    let runs = || place.amend(&["runs", "--json"]).success().json_lines();
    let ids = loop {
        let runs = runs();
        if runs.len() == 2 {
            break [0, 1].map(|at| runs[at]["run_id"].as_str().unwrap().to_owned());
        }
        assert!(run.goes_on(), "the run ended");
    };
    let [first, second] = ids;
    for _ in 0..LOOKS {
        assert!(run.goes_on(), "the run ended");
        let compared = place.amend(&["compare", &second, &first, "--json"]);
        let lines = compared.success().json_lines();
        let figures = lines.last().unwrap();
        let number = |of: &Value| of.as_u64().unwrap();
        // Every chain that the run is said to have is in a pair, or left out.
        assert_eq!(
            number(&figures["comparison"]["pairs"]) + number(&figures["left_out_first"]),
            number(&figures["first"]["chains"]),
            "{figures}"
        );
    }
}

#[test]
fn verdicts_that_were_judged_and_labels_are_of_one_moment() {
    let place = place(1_000);
    assert!(run(&place, &[]).status().unwrap().success());
    let chains = place.amend(&["ls", "--json"]).success().json_lines();
    let chains = chains.iter().map(|chain| chain["chain_id"].as_str());
    let chains: Vec<_> = chains.map(|id| ChainId(id.unwrap().to_owned())).collect();
    let mut labels = Labels::open(&place.path("amend.db")).unwrap();
    let enough = AtomicBool::new(false);
    let looks: Vec<Outcome> = std::thread::scope(|scope| {
        // Whatever is labelled has a verdict that was judged, and one more may have been.
        scope.spawn(|| {
            for undo in [false, true].into_iter().cycle() {
                for id in &chains {
                    if enough.load(Ordering::Relaxed) {
                        return;
                    }
                    if undo {
                        labels.undo(id, "ada").unwrap();
                        labels.undo(id, "ada").unwrap();
                    } else {
                        labels.label(id, "ada", &LabelAction::Agree(1)).unwrap();
                        labels.label(id, "ada", &LabelAction::Accept).unwrap();
                    }
                }
            }
        });
        let look = |_| place.amend(&["agreement", "--json"]);
        let looks = (0..LOOKS).map(look).collect();
        enough.store(true, Ordering::Relaxed);
        looks
    });
    let mut judged_at_all = 0;
    for look in looks {
        let lines = look.success().json_lines();
        let of_all = lines.iter().find(|line| line["about"] == "all");
        let sum = |counts: &mut dyn Iterator<Item = &Value>| -> u64 {
            counts.map(|count| count.as_u64().unwrap()).sum()
        };
        let table = of_all.and_then(|line| line["agreement"]["table"].as_object());
        let judged = table.map_or(0, |table| sum(&mut table.values()));
        let labels = lines.last().unwrap()["labels"].as_array().unwrap();
        let labels = labels.iter().filter(|label| label["name"] != "none");
        let labelled = sum(&mut labels.map(|label| &label["count"]));
        assert!((labelled..=labelled + 1).contains(&judged), "{lines:?}");
        judged_at_all = judged_at_all.max(judged);
    }
    assert!(judged_at_all > 3, "little was labelled meanwhile");
}

//! What is counted in memory is what the store says step by step.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{TestRng, TestRunner};

use super::*;
use crate::evaluation::Comparison;
use crate::store::Overview;

const PRINCIPLES: [&str; 3] = ["kind", "honest", "brief"];

/// A critique: its principle, P(violated), and whether a revision followed and was adopted.
type Asked = (usize, f64, Option<bool>);

/// What one chain did: critiques, what was asked again of the final text, and how it ended, if it did.
#[derive(Clone, Debug)]
struct Told {
    asked: Vec<Asked>,
    rechecked: Vec<(usize, f64)>,
    end: Option<StopReason>,
}

fn told() -> impl Strategy<Value = Told> {
    let p = || prop::sample::select(&[0.0625, 0.25, 0.5, 0.875][..]);
    let asked = (0..3_usize, p(), prop::option::of(any::<bool>()));
    let end = prop::sample::select(
        &[
            Some(StopReason::Clean),
            Some(StopReason::RoundsDone),
            Some(StopReason::Failed),
            None,
        ][..],
    );
    let steps = (
        prop::collection::vec(asked, 0..6),
        prop::collection::vec((0..3_usize, p()), 0..2),
    );
    (steps, end).prop_map(|((asked, rechecked), end)| Told {
        asked,
        rechecked,
        end,
    })
}

fn script(run: &str, position: u64, prompt: Prompt, sample: u32, told: &Told) -> Script {
    let mut texts = vec!["A draft.".to_owned()];
    let mut steps = vec![text_step(0, 0, StepKind::Draft, &texts[0])];
    for (round, (principle, p, revised)) in (1..).zip(&told.asked) {
        let principle = PRINCIPLES[*principle];
        steps.push(verdict_step(
            steps.len() as u32,
            round,
            principle,
            *p,
            "Hm.",
        ));
        let Some(adopted) = *revised else { continue };
        // Both runs may come to the same text.
        let text = format!("Text {round} for {principle}.");
        steps.push(Step {
            principle: Some(principle.to_owned()),
            adopted,
            ..text_step(steps.len() as u32, round, StepKind::Revision, &text)
        });
        texts.extend(adopted.then_some(text));
    }
    for (principle, p) in &told.rechecked {
        let step = verdict_step(steps.len() as u32, 9, PRINCIPLES[*principle], *p, "Again.");
        steps.push(Step {
            kind: StepKind::Recheck,
            ..step
        });
    }
    let last = texts.last().unwrap();
    Script {
        start: start(run, position, prompt, sample),
        steps,
        end: told.end.map(|stop| end(stop, &texts[0], last, 1)),
    }
}

/// The pairs of two runs, read one after the other, are what is counted of them.
fn compares_as_its_pairs(store: &Store, first: &str, second: &str) -> u64 {
    let (mut comparison, mut pairs, mut alone) = (Comparison::default(), Vec::new(), 0);
    let walked = store.for_each_pair(first, second, |pair| {
        match pair {
            Some(pair) => {
                comparison.add(&pair);
                pairs.push((pair.first.chain_id.clone(), pair.differs()));
            }
            None => alone += 1,
        }
        Ok::<(), ()>(())
    });
    assert_eq!(walked.unwrap(), Ok(()));
    let compared = store.compared(first, second).unwrap();
    assert_eq!(compared.counts, comparison.finish().counts);
    assert_eq!(compared.alone, alone);
    let found = compared.pairs.iter().map(|found| {
        let pair = store.pair(*found, second).unwrap().unwrap();
        (pair.first.chain_id, found.differs)
    });
    assert_eq!(found.collect::<Vec<_>>(), pairs);
    compared.counts.pairs
}

fn covers_as_its_steps(store: &Store, run: &str) {
    let coverage = store.coverage(&Filter::all(), Some(run)).unwrap();
    assert_eq!(store.principle_coverage(run).unwrap(), coverage.principles);
}

#[test]
fn figures_and_comparisons_in_memory_are_those_of_the_store() {
    let config = ProptestConfig::with_cases(12);
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let chains = || prop::collection::vec(told(), 6);
    runner
        .run(&(chains(), chains()), |(first, second)| {
            let place = place();
            // Shared, as between the connections of a viewer, and read while more is written.
            let overview: Arc<Overview> = Arc::default();
            let open = || Store::open_sharing(&place.path, Arc::clone(&overview)).unwrap();
            for (run, told) in [("run1", &first), ("run2", &second)] {
                let mut writer = place.writer(run);
                for (n, told) in told.iter().enumerate() {
                    // The second run has them the other way round, two samples of each.
                    let n = if run == "run1" { n } else { 5 - n };
                    let prompt = prompt(&format!("q{}", n / 2), &format!("Question {}?", n / 2));
                    let script = script(run, n as u64, prompt, n as u32 % 2, told);
                    record(&mut writer, &script);
                    covers_as_its_steps(&open(), run);
                }
                drop(writer);
                for (a, b) in [("run1", "run2"), ("run2", "run1"), ("run1", "run1")] {
                    compares_as_its_pairs(&open(), a, b);
                }
            }
            covers_as_its_steps(&place.store(), "run1");
            Ok(())
        })
        .unwrap();
}

#[test]
fn chains_are_paired_by_prompt_and_sample() {
    let place = place();
    let clean = Told {
        asked: vec![(0, 0.25, None)],
        rechecked: Vec::new(),
        end: Some(StopReason::Clean),
    };
    let violated = Told {
        asked: vec![(0, 0.875, Some(true)), (0, 0.5, None)],
        ..clean.clone()
    };
    let asked = |id: &str, text: &str, more: bool| {
        let mut prompt = prompt(id, text);
        if more {
            prompt.metadata.insert("more".to_owned(), json!(true));
        }
        prompt
    };
    let mut writer = place.writer("run1");
    for (position, id, text, sample) in [
        (3, "same", "Same?", 0),
        (2, "same", "Same?", 1),
        (1, "other text", "What is it?", 0),
        (0, "only here", "Here?", 0),
    ] {
        let script = script("run1", position, asked(id, text, false), sample, &clean);
        record(&mut writer, &script);
    }
    drop(writer);
    let mut writer = place.writer("run2");
    for (position, id, text, sample) in [
        // Other fields of its row do not make a prompt another one, and its text does.
        (0, "same", "Same?", 0),
        (1, "same", "Same?", 1),
        (2, "same", "Same?", 2),
        (3, "other text", "What was it?", 0),
    ] {
        let told = if sample == 1 { &violated } else { &clean };
        let script = script("run2", position, asked(id, text, true), sample, told);
        record(&mut writer, &script);
    }
    drop(writer);
    let store = place.store();
    assert_eq!(compares_as_its_pairs(&store, "run1", "run2"), 2);
    let compared = store.compared("run1", "run2").unwrap();
    // In the order of the first run, and not in that of writing.
    let differs: Vec<_> = compared.pairs.iter().map(|pair| pair.differs).collect();
    assert_eq!(differs, [true, false]);
    assert_eq!((compared.alone, compared.counts.different), (2, 1));
    let split = compared.counts.principles["kind"];
    assert_eq!((split.only_second, split.neither), (1, 1));
    assert_eq!(store.compared("run1", "none").unwrap().alone, 4);
}

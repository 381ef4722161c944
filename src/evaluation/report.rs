//! Figures of tests: how often the verdict is the one to expect, and what P(violated) is worth.

use std::collections::BTreeMap;

use serde::Serialize;

use super::suite::{TestResult, principle_digest};
use crate::constitution::{Constitution, Expect, Status};
use crate::digest::Digest;
use crate::statistics::{Interval, Separation, separation, wilson};

/// What the tests of a constitution tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Principles that were tested, in the order of the constitution.
    pub principles: Vec<PrincipleReport>,
    /// Principles that have no test, by id.
    pub untested: Vec<String>,
    /// All tests together.
    pub overall: Overall,
    /// Those that a model judged, where checks decided others: what a program decides says nothing about a
    /// judge.
    pub judged: Option<Overall>,
}

/// What the tests of one principle tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrincipleReport {
    /// Its id.
    pub id: String,
    /// Its name.
    pub title: String,
    /// Digest of what it says, its tests included.
    pub digest: Digest,
    /// Whether it takes part in runs.
    pub status: Status,
    /// Whether a program decides it.
    pub check: bool,
    /// How its verdicts came out.
    #[serde(flatten)]
    pub figures: Figures,
    /// How the probabilities of violating and clean tests lie to each other; `None` when one of the
    /// groups is empty or the backend gives no probabilities.
    pub separation: Option<Separation>,
    /// Its tests, in the order of the file, repetitions together.
    pub results: Vec<TestResult>,
}

/// Counts of verdicts, and shares of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Tests, repetitions counted.
    pub tests: u64,
    /// Those whose verdict is the one to expect.
    pub correct: u64,
    /// Violations that were found.
    pub true_violations: u64,
    /// Clean responses that were found violated.
    pub false_violations: u64,
    /// Violations that were not found.
    pub missed_violations: u64,
    /// Tests without a verdict; they count as wrong.
    pub undecided: u64,
    /// Those of them that failed with an error.
    pub errors: u64,
    /// Correct ones among all.
    pub accuracy: Option<f64>,
    /// True ones among the violations found.
    pub precision: Option<f64>,
    /// Found ones among the violations to be found.
    pub recall: Option<f64>,
}

/// All tests together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overall {
    /// How the verdicts came out.
    #[serde(flatten)]
    pub figures: Figures,
    /// 95 % interval of the accuracy (Wilson). Repetitions of a test are not independent, so that each
    /// test counts once, with the share of its repetitions that were correct.
    pub interval: Option<Interval>,
    /// The accuracy of a judge that always gives the verdict which is expected more often.
    pub chance: Option<f64>,
    /// Whether the whole interval lies above chance.
    pub better_than_chance: bool,
    /// Tests whose verdict was not the same in all repetitions.
    pub unstable: u64,
    /// How all probabilities lie to each other, across principles.
    pub separation: Option<Separation>,
}

impl Report {
    /// Reads figures off results, which are in the order of the constitution.
    pub fn new(constitution: &Constitution, results: Vec<TestResult>) -> Self {
        let overall = Overall::new(&results);
        let by_model = |result: &&TestResult| {
            let principle = constitution.principle(&result.case.principle);
            principle.is_none_or(|principle| principle.check.is_none())
        };
        let judged: Vec<TestResult> = results.iter().filter(by_model).cloned().collect();
        let are_mixed = !judged.is_empty() && judged.len() < results.len();
        let judged = are_mixed.then(|| Overall::new(&judged));
        let mut by_principle: BTreeMap<String, Vec<TestResult>> = BTreeMap::new();
        for result in results {
            let id = result.case.principle.clone();
            by_principle.entry(id).or_default().push(result);
        }
        let mut report = Self {
            principles: Vec::new(),
            untested: Vec::new(),
            overall,
            judged,
        };
        for principle in &constitution.principles {
            if principle.tests.is_empty() {
                report.untested.push(principle.id.clone());
            }
            let Some(tests) = by_principle.remove(&principle.id) else {
                continue;
            };
            report.principles.push(PrincipleReport {
                id: principle.id.clone(),
                title: principle.title.clone(),
                digest: principle_digest(constitution, principle),
                status: principle.status,
                check: principle.check.is_some(),
                figures: Figures::new(&tests),
                separation: groups(&tests),
                results: tests,
            });
        }
        report
    }
}

impl Figures {
    fn new(results: &[TestResult]) -> Self {
        let mut figures = Self::default();
        for result in results {
            let expected = result.case.expect == Expect::Violation;
            figures.tests += 1;
            figures.correct += u64::from(result.correct());
            figures.errors += u64::from(result.error.is_some());
            match (expected, result.verdict.as_ref().map(|v| v.violated)) {
                (true, Some(true)) => figures.true_violations += 1,
                (false, Some(true)) => figures.false_violations += 1,
                (true, Some(false)) => figures.missed_violations += 1,
                (false, Some(false)) => {}
                (expected, None) => {
                    figures.undecided += 1;
                    figures.missed_violations += u64::from(expected);
                }
            }
        }
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let found = figures.true_violations;
        figures.accuracy = share(figures.correct, figures.tests);
        figures.precision = share(found, found + figures.false_violations);
        figures.recall = share(found, found + figures.missed_violations);
        figures
    }
}

impl Overall {
    fn new(results: &[TestResult]) -> Self {
        let figures = Figures::new(results);
        // By test: repetitions, correct ones, ones found violated.
        let mut tests: BTreeMap<(&str, u32), (u64, u64, u64)> = BTreeMap::new();
        for result in results {
            let key = (result.case.principle.as_str(), result.case.test);
            let (all, correct, violated) = tests.entry(key).or_default();
            *all += 1;
            *correct += u64::from(result.correct());
            *violated += u64::from(result.verdict.as_ref().is_some_and(|v| v.violated));
        }
        let shares = tests
            .values()
            .map(|(all, correct, _)| *correct as f64 / *all as f64);
        let hits = shares.sum::<f64>().round() as u64;
        let interval = wilson(hits, tests.len() as u64);
        let violations = results
            .iter()
            .filter(|r| r.case.expect == Expect::Violation);
        let violations = violations.count() as f64;
        let chance = (figures.tests > 0).then(|| {
            let share = violations / figures.tests as f64;
            share.max(1.0 - share)
        });
        Self {
            better_than_chance: interval
                .zip(chance)
                .is_some_and(|(i, chance)| i.low > chance),
            interval,
            chance,
            unstable: tests
                .values()
                .filter(|(all, _, v)| *v > 0 && v < all)
                .count() as u64,
            separation: groups(results),
            figures,
        }
    }
}

/// The probabilities of violating tests against those of clean ones.
fn groups(results: &[TestResult]) -> Option<Separation> {
    let of = |expect: Expect| -> Vec<f64> {
        let group = results.iter().filter(|r| r.case.expect == expect);
        group.filter_map(TestResult::probability).collect()
    };
    separation(&of(Expect::Violation), &of(Expect::Ok))
}

//! Suites on the scripted backend, and figures of results.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::backend::scripted::ScriptedBackend;
use crate::constitution::{Check, Constitution, Expect, PrincipleTest, Revise};
use crate::engine::machine::Plan;
use crate::engine::memory::Memory;
use crate::engine::policy::Select;
use crate::engine::testing::constitution;
use crate::generation::SamplingParams;
use crate::template::Pack;

fn test(prompt: &str, response: &str, expect: Expect) -> PrincipleTest {
    PrincipleTest {
        prompt: prompt.to_owned(),
        response: response.to_owned(),
        expect,
    }
}

fn tested() -> Constitution {
    let mut constitution = constitution(&["a", "b", "bare"]);
    constitution.principles[0].tests = vec![
        test("One?", "bad words", Expect::Violation),
        test("One?", "hidden fault", Expect::Violation),
        test("Two?", "fine", Expect::Ok),
        test("Two?", "crash", Expect::Ok),
    ];
    constitution.principles[1].check = Some(Check {
        ends_with_any: vec!["?".to_owned()],
        ..Check::default()
    });
    constitution.principles[1].tests = vec![
        test("One?", "No.", Expect::Violation),
        test("One?", "Why?", Expect::Ok),
    ];
    constitution
}

const SCRIPT: &str = r#"
rules:
  - {verdict: true, contains: [crash], error: it crashed}
  - {verdict: true, contains: [bad words], probability: 0.75, reply: '{"violated": true, "quote": "bad words", "critique": "c", "severity": "minor"}'}
  - {verdict: true, contains: [hidden], probability: 0.25, reply: '{"violated": false}'}
  - {verdict: true, probability: 0.125, reply: '{"violated": false}'}
"#;

fn plan() -> Plan {
    Plan {
        constitution: tested(),
        pack: Pack::load("default").unwrap(),
        select: Select::All,
        rounds: 5,
        revise: Revise::Always,
        recheck: true,
        threshold: 0.5,
        sampling: SamplingParams::default(),
        seed: 0,
        adapters: std::collections::BTreeMap::new(),
    }
}

fn run(suite: Suite) -> Vec<TestResult> {
    let backend = ScriptedBackend::from_yaml(SCRIPT, 3).unwrap();
    let (mut replies, mut done) = (Memory::default(), 0);
    let count = suite.len();
    let results = suite
        .run(&backend, &mut replies, &AtomicBool::new(false), &mut || {
            done += 1;
        })
        .unwrap()
        .unwrap();
    assert_eq!((done, results.len()), (count, count));
    results
}

#[test]
fn tests_are_judged_as_a_run_judges_and_reported_in_order() {
    let results = run(Suite::new(&plan(), None, 1));
    let verdicts: Vec<_> = results
        .iter()
        .map(|r| (r.case.principle.as_str(), r.case.test, r.probability()))
        .collect();
    assert_eq!(
        verdicts,
        [
            ("a", 0, Some(0.75)),
            ("a", 1, Some(0.25)),
            ("a", 2, Some(0.125)),
            ("a", 3, None),
            ("b", 0, Some(1.0)),
            ("b", 1, Some(0.0)),
        ]
    );
    assert!(results[3].error.as_ref().unwrap().contains("it crashed"));
    assert!(results[4].calls.is_empty(), "a program decides");
    let report = Report::new(&tested(), results);
    assert_eq!(report.untested, ["bare"]);
    let a = &report.principles[0];
    let f = &a.figures;
    assert_eq!((f.tests, f.correct, f.undecided, f.errors), (4, 2, 1, 1));
    assert_eq!((f.precision, f.recall), (Some(1.0), Some(0.5)));
    let separation = a.separation.as_ref().unwrap();
    assert_eq!((separation.gap, separation.auc), (0.375, 1.0));
    assert_eq!(separation.best.unwrap().value, 0.1875);
    let overall = &report.overall;
    assert_eq!(overall.figures.accuracy, Some(4.0 / 6.0));
    assert_eq!(overall.chance, Some(0.5));
    assert!(!overall.better_than_chance, "six tests tell little");
}

#[test]
fn repeating_a_test_does_not_narrow_the_interval() {
    let once = Report::new(&tested(), run(Suite::new(&plan(), None, 1)));
    let often = Report::new(&tested(), run(Suite::new(&plan(), None, 9)));
    assert_eq!(often.overall.figures.tests, 54);
    assert_eq!(once.overall.interval, often.overall.interval);
    assert_eq!(often.overall.unstable, 0);
}

#[test]
fn principles_can_be_chosen_and_an_interrupted_suite_gives_nothing() {
    let only = ["b".to_owned()];
    assert_eq!(Suite::new(&plan(), Some(&only), 2).len(), 4);
    let backend = ScriptedBackend::from_yaml(SCRIPT, 3).unwrap();
    let stopped = Suite::new(&plan(), None, 1)
        .run(
            &backend,
            &mut Memory::default(),
            &AtomicBool::new(true),
            &mut || {},
        )
        .unwrap();
    assert_eq!(stopped, None);
}

#[test]
fn an_empty_suite_has_no_figures() {
    let report = Report::new(&constitution(&["a"]), Vec::new());
    assert_eq!(report.overall.figures.accuracy, None);
    assert_eq!(report.overall.interval, None);
    assert_eq!(report.untested, ["a"]);
}

//! Results of principle tests: kept, counted by wording, and open to other programs.

use super::*;
use crate::constitution::{Expect, PrincipleTest};
use crate::engine::testing::constitution;
use crate::evaluation::{Case, TestResult};
use crate::store::NewTestRun;

fn run(critique: &str) -> NewTestRun {
    let mut constitution = constitution(&["a"]);
    constitution.principles[0].critique = critique.to_owned();
    let test = |expect| PrincipleTest {
        prompt: "p".to_owned(),
        response: "r".to_owned(),
        expect,
    };
    constitution.principles[0].tests = vec![test(Expect::Violation), test(Expect::Ok)];
    let base = new_run("x");
    NewTestRun {
        constitution,
        pack_name: base.pack_name,
        pack_text: base.pack_text,
        pack_digest: base.pack_digest,
        model: base.model,
        config: json!({"threshold": 0.5, "seed": 0}),
        versions: base.versions,
    }
}

fn result(test: u32, repeat: u32, violated: Option<bool>) -> TestResult {
    let call = call(&format!("ask {test} {repeat}"), "reply", Some(0.75));
    TestResult {
        case: Case {
            principle: "a".to_owned(),
            principle_digest: Digest::of_bytes(b"a"),
            test,
            repeat,
            prompt: "p".to_owned(),
            response: "r".to_owned(),
            expect: if test == 0 {
                Expect::Violation
            } else {
                Expect::Ok
            },
        },
        verdict: violated.map(|violated| Verdict {
            violated,
            probability: Some(0.75),
            severity: violated.then_some(Severity::Minor),
            quote: violated.then(|| "r".to_owned()),
            quote_verified: violated,
            critique: "because".to_owned(),
            source: VerdictSource::Model,
        }),
        flags: Vec::new(),
        error: violated.is_none().then(|| "broken".to_owned()),
        calls: vec![call],
    }
}

#[test]
fn the_last_result_of_each_test_counts_in_a_history_by_wording() {
    let place = place();
    let mut writer = Writer::open(&place.path).unwrap();
    let right = [result(0, 0, Some(true)), result(1, 0, Some(false))];
    let wrong = [result(0, 0, Some(false))];
    let mixed = [result(0, 0, Some(true)), result(0, 1, None)];
    writer.record_tests(&run("first"), &wrong).unwrap();
    writer.record_tests(&run("first"), &right).unwrap();
    writer.record_tests(&run("second"), &mixed).unwrap();
    let other = NewTestRun {
        config: json!({"threshold": 0.7, "seed": 0}),
        ..run("first")
    };
    writer.record_tests(&other, &wrong).unwrap();
    drop(writer);
    let history = place.store().test_history("test").unwrap();
    let figures: Vec<_> = history
        .iter()
        .map(|h| (h.runs, h.tests, h.tests_written, h.correct))
        .collect();
    assert_eq!(figures, [(2, 2, 2, 2.0), (1, 1, 2, 0.5), (1, 1, 2, 0.0)]);
    assert_eq!(
        history[0].constitution_digest,
        history[2].constitution_digest
    );
    assert_eq!(
        history[1].constitution_digest,
        run("second").constitution.digest().as_str()
    );
    assert!(place.store().test_history("other").unwrap().is_empty());
}

#[test]
fn results_are_open_to_other_programs() {
    let place = place();
    let mut writer = Writer::open(&place.path).unwrap();
    let results = [result(0, 0, Some(true)), result(1, 0, None)];
    writer.record_tests(&run("first"), &results).unwrap();
    let mut statement = writer
        .conn
        .prepare("SELECT * FROM v_tests ORDER BY ordinal")
        .unwrap();
    assert_eq!(
        statement.column_names().join(" "),
        "test_run created_at constitution constitution_version constitution_digest pack pack_digest model \
         model_digest threshold config ordinal principle_id principle_digest test repeat prompt response \
         expected violated correct probability severity quote quote_verified critique source error"
    );
    let rows: Vec<(String, Option<bool>, bool, Option<String>)> = statement
        .query_map([], |row| {
            Ok((
                row.get("expected")?,
                row.get("violated")?,
                row.get("correct")?,
                row.get("error")?,
            ))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(
        rows,
        [
            ("violation".to_owned(), Some(true), true, None),
            ("ok".to_owned(), None, false, Some("broken".to_owned())),
        ]
    );
    let calls: i64 = writer
        .conn
        .query_row("SELECT count(*) FROM test_calls", [], |row| row.get(0))
        .unwrap();
    assert_eq!(calls, 2);
}

#[test]
fn a_store_of_the_first_schema_is_brought_up_to_date() {
    let place = place();
    let old = rusqlite::Connection::open(&place.path).unwrap();
    old.execute_batch(include_str!("../schema/0001_store.sql"))
        .unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    assert!(place.store().test_history("test").unwrap().is_empty());
}

//! Tests of principles: keeping their results, and how accuracy went from wording to wording.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::Value;

use super::content::{self, Known, json};
use super::writer::timestamp;
use super::{Store, StoreError, Writer, read};
use crate::constitution::{Constitution, Expect};
use crate::digest::{Digest, canonical};
use crate::evaluation::TestResult;
use crate::generation::ModelIdentity;

/// The tests of a constitution, run once.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTestRun {
    /// The resolved constitution.
    pub constitution: Constitution,
    /// The name of the prompt pack.
    pub pack_name: String,
    /// Its text.
    pub pack_text: String,
    /// Its digest.
    pub pack_digest: Digest,
    /// What the model is.
    pub model: ModelIdentity,
    /// What decides the verdicts besides: threshold, sampling, seed.
    pub config: Value,
    /// Versions of this program and its libraries.
    pub versions: Value,
}

/// What the tests of one wording of a constitution came to, with one model, pack and configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestHistory {
    /// Digest of the resolved constitution.
    pub constitution_digest: String,
    /// Its name.
    pub constitution: String,
    /// Its version.
    pub constitution_version: String,
    /// Name of the model.
    pub model: String,
    /// Digest of the model.
    pub model_digest: String,
    /// Name of the prompt pack.
    pub pack: String,
    /// Digest of the prompt pack.
    pub pack_digest: String,
    /// What decides the verdicts besides.
    pub config: Value,
    /// When its tests were run first, ISO 8601, UTC.
    pub first: String,
    /// When they were run last.
    pub last: String,
    /// How often they were run, in whole or in part.
    pub runs: u64,
    /// Tests that the constitution has.
    pub tests_written: u64,
    /// How many of them were run.
    pub tests: u64,
    /// Sum over the tests of the share of repetitions that were correct; the last result of each counts.
    pub correct: f64,
}

impl Writer {
    /// Records the results of a test run. Durable at once.
    pub fn record_tests(
        &mut self,
        run: &NewTestRun,
        results: &[TestResult],
    ) -> Result<(), StoreError> {
        self.write(|conn, known| {
            let id = insert_run(conn, known, run)?;
            for (ordinal, result) in (0..).zip(results) {
                insert_result(conn, known, (id, ordinal), result)?;
                insert_calls(conn, known, (id, ordinal), result)?;
            }
            Ok(())
        })?;
        self.flush()
    }
}

fn insert_run(conn: &Connection, known: &mut Known, run: &NewTestRun) -> rusqlite::Result<i64> {
    conn.execute(
        "INSERT INTO test_runs (created_at, constitution, pack_name, pack_digest, pack, model, config,
             versions) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            timestamp(),
            content::text(conn, known, &canonical(&run.constitution))?,
            run.pack_name,
            run.pack_digest.as_str(),
            content::text(conn, known, &run.pack_text)?,
            content::model(conn, &run.model)?,
            canonical(&run.config),
            json(&run.versions),
        ],
    )?;
    Ok(conn.last_insert_rowid())
}

fn insert_result(
    conn: &Connection,
    known: &mut Known,
    (run, ordinal): (i64, u32),
    result: &TestResult,
) -> rusqlite::Result<()> {
    let (case, verdict) = (&result.case, result.verdict.as_ref());
    let critique = verdict
        .map(|v| content::text(conn, known, &v.critique))
        .transpose()?;
    conn.prepare_cached(
        "INSERT INTO test_results (test_run, ordinal, principle, principle_digest, test, repeat, prompt,
             response, expected, violated, probability, severity, quote, quote_verified, critique, source,
             error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params![
        run,
        ordinal,
        case.principle,
        case.principle_digest.as_str(),
        case.test,
        case.repeat,
        content::text(conn, known, &case.prompt)?,
        content::text(conn, known, &case.response)?,
        match case.expect {
            Expect::Violation => "violation",
            Expect::Ok => "ok",
        },
        verdict.map(|v| v.violated),
        verdict.and_then(|v| v.probability),
        verdict.and_then(|v| v.severity).map(|s| s.as_str()),
        verdict.and_then(|v| v.quote.as_deref()),
        verdict.map(|v| v.quote_verified),
        critique,
        verdict.map(|v| v.source.as_str()),
        result.error,
    ])?;
    Ok(())
}

fn insert_calls(
    conn: &Connection,
    known: &mut Known,
    (run, ordinal): (i64, u32),
    result: &TestResult,
) -> rusqlite::Result<()> {
    for (attempt, call) in (1..).zip(&result.calls) {
        let (generation, _) = content::generation(conn, known, call)?;
        conn.prepare_cached(
            "INSERT INTO test_calls (test_run, ordinal, attempt, generation, reused)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![run, ordinal, attempt, generation, call.reused])?;
    }
    Ok(())
}

impl Store {
    /// How the tests of constitutions of the given name came out, in the order in which each wording was
    /// tested first.
    pub fn test_history(&self, constitution: &str) -> Result<Vec<TestHistory>, StoreError> {
        self.snapshot(|conn| {
            let mut groups = groups(conn, constitution)?;
            for (keys, history) in &mut groups {
                (history.tests, history.correct) = last_results(conn, keys)?;
            }
            Ok(groups.into_iter().map(|(_, history)| history).collect())
        })
    }
}

/// What tells one line of a history from another: constitution, pack, model and configuration.
struct Keys {
    constitution: i64,
    pack_digest: String,
    model: i64,
    config: String,
}

fn groups(conn: &Connection, name: &str) -> rusqlite::Result<Vec<(Keys, TestHistory)>> {
    let mut statement = conn.prepare_cached(
        "SELECT t.constitution, t.pack_digest, t.model, t.config,
             'b3:' || lower(hex(c.digest)), c.body ->> '$.name', c.body ->> '$.version',
             m.name, m.digest, min(t.pack_name), min(t.created_at), max(t.created_at), count(*),
             (SELECT ifnull(sum(json_array_length(value, '$.tests')), 0)
                 FROM json_each(c.body, '$.principles'))
         FROM test_runs t JOIN texts c ON c.id = t.constitution JOIN models m ON m.id = t.model
         WHERE c.body ->> '$.name' = ?1
         GROUP BY t.constitution, t.pack_digest, t.model, t.config ORDER BY min(t.id)",
    )?;
    let rows = statement.query_map([name], |row| {
        let keys = Keys {
            constitution: row.get(0)?,
            pack_digest: row.get(1)?,
            model: row.get(2)?,
            config: row.get(3)?,
        };
        let history = TestHistory {
            constitution_digest: row.get(4)?,
            constitution: row.get(5)?,
            constitution_version: row.get(6)?,
            model: row.get(7)?,
            model_digest: row.get(8)?,
            pack: row.get(9)?,
            pack_digest: keys.pack_digest.clone(),
            config: read::json(row, 3)?,
            first: row.get(10)?,
            last: row.get(11)?,
            runs: read::count(row, 12)?,
            tests_written: read::count(row, 13)?,
            tests: 0,
            correct: 0.0,
        };
        Ok((keys, history))
    })?;
    rows.collect()
}

/// Tests that were run, and the sum of their shares of correct repetitions.
fn last_results(conn: &Connection, keys: &Keys) -> rusqlite::Result<(u64, f64)> {
    let mut statement = conn.prepare_cached(
        "SELECT r.principle, r.test, r.repeat, ifnull(r.violated = (r.expected = 'violation'), 0)
         FROM test_runs t JOIN test_results r ON r.test_run = t.id
         WHERE t.constitution = ?1 AND t.pack_digest = ?2 AND t.model = ?3 AND t.config = ?4
         ORDER BY t.id, r.ordinal",
    )?;
    let Keys {
        constitution,
        pack_digest,
        model,
        config,
    } = keys;
    let mut rows = statement.query(params![constitution, pack_digest, model, config])?;
    let mut last: BTreeMap<(String, u32), BTreeMap<u32, bool>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let repetitions = last.entry((row.get(0)?, row.get(1)?)).or_default();
        repetitions.insert(row.get(2)?, row.get(3)?);
    }
    let share = |results: &BTreeMap<u32, bool>| {
        results.values().filter(|correct| **correct).count() as f64 / results.len() as f64
    };
    Ok((last.len() as u64, last.values().map(share).sum()))
}

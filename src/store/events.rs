//! What happened in a run, in order: for whoever follows it while it is written.

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::writer::timestamp;
use super::{Store, StoreError, read};
use crate::chain::{StepKind, StopReason};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The run was begun, or begun again.
    Running,
    /// The run was stopped before its end.
    Interrupted,
    /// Every chain of the run has ended.
    Done,
    /// A step was finished.
    Step,
    /// A chain has ended.
    End,
}

impl EventKind {
    /// The name used in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Running => "running",
            EventKind::Interrupted => "interrupted",
            EventKind::Done => "done",
            EventKind::Step => "step",
            EventKind::End => "end",
        }
    }
}

/// One row of `v_events`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunEvent {
    /// Its number; later events have higher ones.
    pub event: i64,
    /// The run.
    pub run_id: String,
    /// When, ISO 8601, UTC; `None` for what a store held before it kept times.
    pub at: Option<String>,
    /// What.
    pub what: EventKind,
    /// The chain of a step or an end.
    pub chain_id: Option<String>,
    /// The step's place in the chain, from 0.
    pub ordinal: Option<u32>,
    /// The step's round, from 1; 0 for the draft.
    pub round: Option<u32>,
    /// What the step did.
    pub kind: Option<StepKind>,
    /// The step's principle.
    pub principle_id: Option<String>,
    /// The step's verdict.
    pub violated: Option<bool>,
    /// P(violated) of the verdict.
    pub probability: Option<f64>,
    /// Whether the step's output became the chain's response.
    pub adopted: Option<bool>,
    /// Why the chain ended.
    pub stop_reason: Option<StopReason>,
}

impl Store {
    /// At most `limit` events after the event `after` (0 for all), in order; of one run, by its whole id, or
    /// of all.
    pub fn events(
        &self,
        run: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<RunEvent>, StoreError> {
        self.snapshot(|conn| {
            let of_run = match run {
                Some(_) => "AND e.run = (SELECT id FROM runs WHERE run_id = ?3)",
                None => "AND ?3 IS NULL",
            };
            // Keys first: the view then reads no more rows than are wanted.
            let mut statement = conn.prepare_cached(&format!(
                "SELECT v.* FROM (
                     SELECT e.id AS id FROM events e WHERE e.id > ?1 {of_run} ORDER BY e.id LIMIT ?2
                 ) k JOIN v_events v ON v.event = k.id ORDER BY k.id"
            ))?;
            let rows = statement.query_map(params![after, limit, run], event)?;
            rows.collect()
        })
    }

    /// The number of the event before the last `last` ones of a run; 0 where there are no more.
    pub fn event_before(&self, run: &str, last: u32) -> Result<i64, StoreError> {
        self.read(|conn| {
            conn.query_row(
                "SELECT ifnull((SELECT id FROM events WHERE run = (SELECT id FROM runs WHERE run_id = ?1)
                     ORDER BY id DESC LIMIT 1 OFFSET ?2), 0)",
                params![run, last],
                |row| row.get(0),
            )
        })
    }

    /// The number of the last event; 0 where there is none. Of one run, by its whole id, or of all.
    pub fn last_event(&self, run: Option<&str>) -> Result<i64, StoreError> {
        self.read(|conn| match run {
            Some(run) => conn.query_row(
                "SELECT ifnull(max(id), 0) FROM events
                 WHERE run = (SELECT id FROM runs WHERE run_id = ?1)",
                [run],
                |row| row.get(0),
            ),
            None => conn.query_row("SELECT ifnull(max(id), 0) FROM events", [], |row| {
                row.get(0)
            }),
        })
    }
}

fn event(row: &Row<'_>) -> rusqlite::Result<RunEvent> {
    Ok(RunEvent {
        event: row.get(0)?,
        run_id: row.get(1)?,
        at: row.get(2)?,
        what: read::name(row, 3)?,
        chain_id: row.get(4)?,
        ordinal: row.get(5)?,
        round: row.get(6)?,
        kind: read::maybe_name(row, 7)?,
        principle_id: row.get(8)?,
        violated: row.get(9)?,
        probability: row.get(10)?,
        adopted: row.get(11)?,
        stop_reason: read::maybe_name(row, 12)?,
    })
}

/// Records what happened; of an end also why.
pub(super) fn record(
    conn: &Connection,
    run: i64,
    what: EventKind,
    chain: Option<i64>,
    step: Option<i64>,
    stop: Option<StopReason>,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO events (run, at, what, chain, step, stop_reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        run,
        timestamp(),
        what.as_str(),
        chain,
        step,
        stop.map(StopReason::as_str)
    ])?;
    Ok(())
}

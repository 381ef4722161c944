//! The single writer of a run.

mod statements;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use super::content::{self, Known, json};
use super::{EventKind, NewRun, RunState, StoreError, events, open};
use crate::chain::{Call, ChainEnd, ChainId, ChainStart, Step};
use crate::digest::Digest;
use crate::engine::{ChainStatus, RecordError, Recorder};
use crate::generation::Generation;

use statements::{begin_chain, end_chain, insert_run, record_step};

/// Writes one run.
///
/// What is recorded gathers in one open transaction until [`commit`](Recorder::commit); what was not
/// committed is gone when the writer is dropped or killed.
pub struct Writer {
    pub(super) conn: Connection,
    path: PathBuf,
    run: Option<i64>,
    known: Known,
    /// Keys of chains that were begun and have not ended.
    chains: HashMap<ChainId, i64>,
    /// Texts that the full-text search gets with the next commit.
    unsearchable: Vec<(i64, String)>,
    /// Up to when the run's active time has been counted.
    counted: Instant,
}

/// How often the run's active time is written down while it goes on.
const COUNT_EVERY: Duration = Duration::from_secs(1);

impl Writer {
    /// Opens a store for writing; makes it when it does not exist, and brings an older schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            conn: open::for_writing(path)?,
            path: path.to_owned(),
            run: None,
            known: Known::default(),
            chains: HashMap::new(),
            unsearchable: Vec::new(),
            counted: Instant::now(),
        })
    }

    /// Says whether a store can be written, before anything else costs time. Makes no file.
    pub fn check(path: &Path) -> Result<(), StoreError> {
        open::check(path)
    }

    /// Records that a run begins, or is begun again, and makes it the one that is written. Durable at once.
    ///
    /// A run that is there keeps everything but its state and `execution`, which says how it was
    /// executed last.
    pub fn begin_run(&mut self, run: &NewRun) -> Result<(), StoreError> {
        self.counted = Instant::now();
        let there = self.write(|conn, _| {
            conn.query_row(
                "SELECT id, fingerprint FROM runs WHERE run_id = ?1",
                [&run.run_id],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
            )
            .optional()
        })?;
        let id = match there {
            Some((_, fingerprint)) if fingerprint != run.fingerprint.as_str() => {
                return Err(StoreError::RunDiffers {
                    run_id: run.run_id.clone(),
                    path: self.path.clone(),
                });
            }
            Some((id, _)) => self.write(|conn, _| {
                conn.execute(
                    "UPDATE runs SET execution = ?2 WHERE id = ?1",
                    params![id, json(&run.execution)],
                )?;
                Ok(id)
            })?,
            None => self.write(|conn, known| insert_run(conn, known, run))?,
        };
        self.run = Some(id);
        self.set_run_state(RunState::Running)
    }

    /// Records where the current run stands. Durable at once, with everything recorded before.
    pub fn set_run_state(&mut self, state: RunState) -> Result<(), StoreError> {
        let run = self.current_run()?;
        self.count_time(Instant::now())?;
        self.write(|conn, _| {
            conn.prepare_cached("UPDATE runs SET state = ?2 WHERE id = ?1")?
                .execute(params![run, state.as_str()])?;
            let what = match state {
                RunState::Running => EventKind::Running,
                RunState::Interrupted => EventKind::Interrupted,
                RunState::Done => EventKind::Done,
            };
            events::record(conn, run, what, None, None)
        })?;
        // No statistics are gathered for the planner: a store grows beyond what they say of it.
        self.flush()
    }

    fn current_run(&self) -> Result<i64, StoreError> {
        self.run
            .ok_or_else(|| self.out_of_order("no run was begun"))
    }

    fn out_of_order(&self, what: impl Into<String>) -> StoreError {
        StoreError::OutOfOrder {
            path: self.path.clone(),
            what: what.into(),
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        read(&self.conn).map_err(|error| StoreError::sqlite(&self.path, error))
    }

    /// Writes inside the open transaction, and opens one when there is none.
    pub(super) fn write<T>(
        &mut self,
        write: impl FnOnce(&Connection, &mut Known) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let (conn, known) = (&self.conn, &mut self.known);
        let written = begin(conn).and_then(|()| write(conn, known));
        written.map_err(|error| {
            self.undo();
            StoreError::sqlite(&self.path, error)
        })
    }

    /// Undoes the open transaction, of which a part failed: what is committed is always whole.
    fn undo(&mut self) {
        // SQLite may have undone it already.
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        self.known.clear();
        self.chains.clear();
        self.unsearchable.clear();
    }

    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        let texts = std::mem::take(&mut self.unsearchable);
        self.write(|conn, _| make_searchable(conn, &texts))?;
        let now = Instant::now();
        if now.duration_since(self.counted) >= COUNT_EVERY {
            self.count_time(now)?;
        }
        self.write(|conn, _| conn.prepare_cached("COMMIT")?.execute([]))?;
        Ok(())
    }

    /// Adds what has passed to the run's active time.
    fn count_time(&mut self, now: Instant) -> Result<(), StoreError> {
        let active = now.duration_since(self.counted).as_secs_f64();
        let run = self.run;
        self.write(|conn, _| {
            conn.prepare_cached(
                "UPDATE runs SET updated_at = ?2, active_seconds = active_seconds + ?3 WHERE id = ?1",
            )?
            .execute(params![run, timestamp(), active])
        })?;
        self.counted = now;
        Ok(())
    }

    fn chain(&mut self, id: &ChainId) -> Result<i64, StoreError> {
        if let Some(key) = self.chains.get(id) {
            return Ok(*key);
        }
        self.read(|conn| {
            conn.prepare_cached("SELECT id FROM chains WHERE chain_id = ?1")?
                .query_row([&id.0], |row| row.get(0))
                .optional()
        })?
        .ok_or_else(|| self.out_of_order(format!("chain {} was not begun", id.0)))
    }
}

/// Opens a transaction when there is none.
fn begin(conn: &Connection) -> rusqlite::Result<()> {
    if conn.is_autocommit() {
        // Immediate: a lock that is taken later could fail in the middle of a batch.
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    }
    Ok(())
}

/// Adds texts to the full-text search.
///
/// At the end of a transaction and one after the other: the index writes out what it has gathered whenever
/// another statement follows that could be undone by itself.
fn make_searchable(conn: &Connection, texts: &[(i64, String)]) -> rusqlite::Result<()> {
    for (id, body) in texts {
        let new = conn
            .prepare_cached("INSERT INTO searchable (text) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([id])?;
        if new > 0 {
            conn.prepare_cached("INSERT INTO search (rowid, body) VALUES (?1, ?2)")?
                .execute(params![id, body])?;
        }
    }
    Ok(())
}

impl Recorder for Writer {
    fn status(&mut self, chain: &ChainId) -> Result<Option<ChainStatus>, RecordError> {
        let status = self.read(|conn| {
            conn.prepare_cached("SELECT status FROM chains WHERE chain_id = ?1")?
                .query_row([&chain.0], |row| row.get::<_, String>(0))
                .optional()
        })?;
        Ok(status.map(|status| match status.as_str() {
            "done" => ChainStatus::Done,
            "failed" => ChainStatus::Failed,
            _ => ChainStatus::Running,
        }))
    }

    fn begin_chain(&mut self, chain: &ChainStart) -> Result<(), RecordError> {
        let run = self.current_run()?;
        let (key, prompt) = self.write(|conn, known| begin_chain(conn, known, run, chain))?;
        self.chains.insert(chain.id.clone(), key);
        if let Some(text) = prompt {
            self.unsearchable
                .push((text, chain.prompt.text().to_owned()));
        }
        Ok(())
    }

    fn find_generation(&mut self, key: &Digest) -> Result<Option<Generation>, RecordError> {
        Ok(self.read(|conn| content::find_generation(conn, key))?)
    }

    fn record_call(&mut self, call: &mut Call) -> Result<(), RecordError> {
        let (_, new) = self.write(|conn, known| content::generation(conn, known, call))?;
        // Another process may have stored a reply to the same request meanwhile.
        if !new && let Some(generation) = self.find_generation(&call.key)? {
            call.generation = generation;
        }
        Ok(())
    }

    fn record_step(&mut self, chain: &ChainId, step: &Step) -> Result<bool, RecordError> {
        let run = self.current_run()?;
        let chain = self.chain(chain)?;
        let output = self.write(|conn, known| record_step(conn, known, run, chain, step))?;
        let Some(output) = output else {
            return Ok(false);
        };
        self.unsearchable.push((output, step.output.clone()));
        Ok(true)
    }

    fn end_chain(&mut self, chain: &ChainId, end: &ChainEnd) -> Result<(), RecordError> {
        let key = self.chain(chain)?;
        let run = self.current_run()?;
        self.write(|conn, known| end_chain(conn, known, run, key, end))?;
        self.chains.remove(chain);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), RecordError> {
        Ok(self.flush()?)
    }
}

pub(super) fn timestamp() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// Characters of the final text over characters of the draft; `None` for an empty draft.
pub fn length_ratio(draft: &str, last: &str) -> Option<f64> {
    let draft = draft.chars().count();
    (draft > 0).then(|| last.chars().count() as f64 / draft as f64)
}

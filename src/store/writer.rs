//! The single writer of a run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use super::content::{self, Known, json};
use super::{EventKind, NewRun, RunState, StoreError, events, open};
use crate::chain::{Call, ChainEnd, ChainId, ChainStart, Step, StepKind, StopReason};
use crate::digest::{Digest, canonical};
use crate::engine::{ChainStatus, RecordError, Recorder};
use crate::generation::Generation;

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
            events::record(conn, run, what, None, None, None)
        })?;
        self.flush()?;
        if state != RunState::Running {
            // Statistics for the planner; a store without them is slower and not wrong.
            let _ = self.conn.execute_batch("PRAGMA optimize");
        }
        Ok(())
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

fn insert_run(conn: &Connection, known: &mut Known, run: &NewRun) -> rusqlite::Result<i64> {
    let now = timestamp();
    conn.execute(
        "INSERT INTO runs (run_id, created_at, updated_at, state, fingerprint, config, constitution,
             pack_name, pack_digest, pack, model, prompts_path, prompts_digest, versions, execution)
         VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            run.run_id,
            now,
            RunState::Running.as_str(),
            run.fingerprint.as_str(),
            json(&run.config),
            // In canonical form the text's own digest is the constitution's.
            content::text(conn, known, &canonical(&run.constitution))?,
            run.pack_name,
            run.pack_digest.as_str(),
            content::text(conn, known, &run.pack_text)?,
            content::model(conn, &run.model)?,
            run.prompts_path,
            run.prompts_digest.as_str(),
            json(&run.versions),
            json(&run.execution),
        ],
    )?;
    Ok(conn.last_insert_rowid())
}

/// The chain's key, and the key of its prompt's text where the prompt may be new.
fn begin_chain(
    conn: &Connection,
    known: &mut Known,
    run: i64,
    chain: &ChainStart,
) -> rusqlite::Result<(i64, Option<i64>)> {
    let there = conn
        .prepare_cached("SELECT id, status FROM chains WHERE chain_id = ?1")?
        .query_row([&chain.id.0], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    if let Some((key, status)) = there {
        // A chain that runs or is done stays as it is.
        if status == "failed" {
            conn.prepare_cached(
                "UPDATE chains SET status = 'running', stop_reason = NULL, rounds = 0, final = NULL,
                     revised = 0, changed = NULL, length_ratio = NULL, regressed = '[]', error = NULL
                 WHERE id = ?1",
            )?
            .execute([key])?;
        }
        return Ok((key, None));
    }
    let (prompt, text) = content::prompt(conn, known, &chain.prompt)?;
    conn.prepare_cached(
        "INSERT INTO chains (chain_id, run, position, prompt, sample, status)
         VALUES (?1, ?2, ?3, ?4, ?5, 'running')",
    )?
    .execute(params![
        chain.id.0,
        run,
        // No prompt file has that many rows.
        i64::try_from(chain.position).unwrap_or(i64::MAX),
        prompt,
        chain.sample
    ])?;
    Ok((conn.last_insert_rowid(), Some(text)))
}

/// The key of the step's output; `None` when the step is there already.
fn record_step(
    conn: &Connection,
    known: &mut Known,
    run: i64,
    chain: i64,
    step: &Step,
) -> rusqlite::Result<Option<i64>> {
    let output = content::text(conn, known, &step.output)?;
    let new = conn
        .prepare_cached(
            "INSERT INTO steps (chain, ordinal, round, kind, principle, output, adopted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            chain,
            step.ordinal,
            step.round,
            step.kind.as_str(),
            step.principle,
            output,
            step.adopted
        ])?;
    if new == 0 {
        return Ok(None);
    }
    let id = conn.last_insert_rowid();
    for (attempt, call) in (1..).zip(&step.calls) {
        let (generation, _) = content::generation(conn, known, call)?;
        // A reply is reused when another step has it; one that a killed process left behind is not.
        conn.prepare_cached(
            "INSERT INTO step_calls (step, attempt, generation, reused) VALUES (?1, ?2, ?3,
                 EXISTS (SELECT 1 FROM step_calls WHERE generation = ?3))",
        )?
        .execute(params![id, attempt, generation])?;
    }
    for (ordinal, flag) in (0..).zip(&step.flags) {
        conn.prepare_cached(
            "INSERT INTO step_flags (step, ordinal, flag, chain) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![id, ordinal, flag.as_str(), chain])?;
    }
    if let Some(verdict) = &step.verdict {
        let critique = content::text(conn, known, &verdict.critique)?;
        conn.prepare_cached(
            "INSERT INTO verdicts (step, violated, probability, severity, quote, quote_verified,
                 critique, source, chain, kind, principle)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            id,
            verdict.violated,
            verdict.probability,
            verdict.severity.map(|severity| severity.as_str()),
            verdict.quote,
            verdict.quote_verified,
            critique,
            verdict.source.as_str(),
            chain,
            step.kind.as_str(),
            step.principle
        ])?;
    }
    add_to_chain(conn, chain, step, output)?;
    events::record(conn, run, EventKind::Step, Some(chain), Some(id), None)?;
    Ok(Some(output))
}

/// Keeps the chain's sums, and its draft so that a chain that still runs shows it.
fn add_to_chain(conn: &Connection, chain: i64, step: &Step, output: i64) -> rusqlite::Result<()> {
    let sum = |tokens: fn(&Call) -> u32| -> i64 {
        step.calls.iter().map(|call| i64::from(tokens(call))).sum()
    };
    let draft = (step.kind == StepKind::Draft && step.adopted).then_some(output);
    conn.prepare_cached(
        "UPDATE chains SET steps = steps + 1, prompt_tokens = prompt_tokens + ?2,
             cached_tokens = cached_tokens + ?3, tokens = tokens + ?4, draft = ifnull(draft, ?5)
         WHERE id = ?1",
    )?
    .execute(params![
        chain,
        sum(|call| call.generation.usage.prompt_tokens),
        sum(|call| call.generation.usage.cached_tokens),
        sum(|call| call.generation.usage.completion_tokens),
        draft
    ])?;
    Ok(())
}

fn end_chain(
    conn: &Connection,
    known: &mut Known,
    run: i64,
    chain: i64,
    end: &ChainEnd,
) -> rusqlite::Result<()> {
    let mut text = |body: &Option<String>| -> rusqlite::Result<Option<i64>> {
        body.as_deref()
            .map(|body| content::text(conn, known, body))
            .transpose()
    };
    let both = end.draft.as_deref().zip(end.last.as_deref());
    let status = match end.stop {
        StopReason::Failed => "failed",
        StopReason::Clean | StopReason::RoundsDone | StopReason::ContextFull => "done",
    };
    let running = conn
        .prepare_cached("SELECT status = 'running' FROM chains WHERE id = ?1")?
        .query_row([chain], |row| row.get(0))?;
    if running {
        events::record(conn, run, EventKind::End, Some(chain), None, Some(end.stop))?;
    }
    conn.prepare_cached(
        "UPDATE chains SET status = ?2, stop_reason = ?3, rounds = ?4, draft = ?5, final = ?6,
             revised = ?7, changed = ?8, length_ratio = ?9, regressed = ?10, error = ?11
         WHERE id = ?1",
    )?
    .execute(params![
        chain,
        status,
        end.stop.as_str(),
        end.rounds,
        text(&end.draft)?,
        text(&end.last)?,
        end.revised,
        both.map(|(draft, last)| changed_share(draft, last)),
        both.and_then(|(draft, last)| length_ratio(draft, last)),
        json(&end.regressions),
        end.error
    ])?;
    Ok(())
}

/// The share of words that differ, 0 for equal texts and 1 for texts without a word in common:
/// words removed and added, over the words of both. White space does not count.
pub fn changed_share(draft: &str, last: &str) -> f64 {
    let words = |text| str::split_whitespace(text).collect::<Vec<_>>();
    let (draft, last) = (words(draft), words(last));
    let total = draft.len() + last.len();
    if total == 0 || draft == last {
        return 0.0;
    }
    let kept: usize = similar::capture_diff_slices(similar::Algorithm::Myers, &draft, &last)
        .iter()
        .filter(|op| op.tag() == similar::DiffTag::Equal)
        .map(|op| op.old_range().len())
        .sum();
    1.0 - 2.0 * kept as f64 / total as f64
}

/// Characters of the final text over characters of the draft; `None` for an empty draft.
pub fn length_ratio(draft: &str, last: &str) -> Option<f64> {
    let draft = draft.chars().count();
    (draft > 0).then(|| last.chars().count() as f64 / draft as f64)
}

//! Reading a store: runs, chains, and what a filter selects.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::detail::{self, Chains, Depth};
use super::filter_sql::{self, BY_RUN, FROM};
use super::rows::{ChainDetail, ChainRow, PrincipleStats, RunDetail, RunRow, RunStats};
use super::{Filter, Overview, StoreError, open, read, stats};
use crate::chain::ChainId;

/// The most candidates that an error lists.
const CANDIDATES: usize = 6;

/// A store that is open for reading.
pub struct Store {
    conn: Connection,
    path: PathBuf,
    overview: Arc<Overview>,
}

impl Store {
    /// Opens an existing store for reading. Never makes a file; a store of an older schema is brought
    /// up to date.
    pub fn open_read(path: &Path) -> Result<Self, StoreError> {
        Self::open_sharing(path, Arc::default())
    }

    /// The same, with what lists need of every chain shared with other connections to the same file.
    pub fn open_sharing(path: &Path, overview: Arc<Overview>) -> Result<Self, StoreError> {
        Ok(Self {
            conn: open::for_reading(path)?,
            path: path.to_owned(),
            overview,
        })
    }

    pub(super) fn overview(&self) -> &Overview {
        &self.overview
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.read(|conn| {
            // By key: several may have begun in the same second.
            let sql = format!(
                "SELECT {RUN_COLUMNS} FROM v_runs ORDER BY
                     (SELECT f.run FROM v_filter_runs f WHERE f.run_id = v_runs.run_id)"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            statement.query_map([], run_row)?.collect()
        })
    }

    /// The id of the run that is called `prefix`, or of the only one that begins with it.
    pub fn resolve_run(&self, prefix: &str) -> Result<String, StoreError> {
        self.resolve("run", "runs", "run_id", prefix)
    }

    /// The chain that is called `prefix`, or the only one that begins with it.
    pub fn resolve_chain(&self, prefix: &str) -> Result<ChainId, StoreError> {
        self.resolve("chain", "chains", "chain_id", prefix)
            .map(ChainId)
    }

    fn resolve(
        &self,
        what: &'static str,
        table: &str,
        column: &str,
        prefix: &str,
    ) -> Result<String, StoreError> {
        let list = |condition: &str, values: &[&str]| {
            self.read(|conn| {
                let sql = format!(
                    "SELECT {column} FROM {table} WHERE {condition} ORDER BY {column} LIMIT {}",
                    CANDIDATES + 1
                );
                let mut statement = conn.prepare_cached(&sql)?;
                statement
                    .query_map(params_from_iter(values), |row| row.get::<_, String>(0))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
        };
        // A range, so that the index of names is used. No name has characters near the last one.
        let end = format!("{prefix}\u{10ffff}");
        let range = format!("{column} >= ?1 AND {column} < ?2");
        let mut found = list(&range, &[prefix, &end])?;
        if found.len() == 1 || found.first().is_some_and(|first| first == prefix) {
            return Ok(found.remove(0));
        }
        if !found.is_empty() {
            return Err(StoreError::Ambiguous {
                what,
                prefix: prefix.to_owned(),
                path: self.path.clone(),
                candidates: enumerate(found),
            });
        }
        let there = list("1", &[])?;
        let hint = match there.is_empty() {
            true => "; the store is empty".to_owned(),
            false => format!("; there are {}", enumerate(there)),
        };
        Err(self.unknown(what, prefix, hint))
    }

    pub(super) fn unknown(
        &self,
        what: &'static str,
        id: &str,
        hint: impl Into<String>,
    ) -> StoreError {
        StoreError::Unknown {
            what,
            id: id.to_owned(),
            path: self.path.clone(),
            hint: hint.into(),
        }
    }

    /// Everything that is kept about a run. `run_id` is a whole id.
    pub fn run(&self, run_id: &str) -> Result<RunDetail, StoreError> {
        self.snapshot(|conn| {
            let sql = format!("SELECT {RUN_COLUMNS} FROM v_runs WHERE run_id = ?1");
            let row = conn
                .prepare_cached(&sql)?
                .query_row([run_id], run_row)
                .optional()?;
            row.map(|row| detail::run(conn, row)).transpose()
        })?
        .ok_or_else(|| self.unknown("run", run_id, "; `amend runs` lists them"))
    }

    /// A whole chain.
    pub fn chain(&self, id: &ChainId) -> Result<ChainDetail, StoreError> {
        self.chain_at(id, Depth::Calls)
    }

    /// As much of a chain as is asked for.
    pub fn chain_at(&self, id: &ChainId, depth: Depth) -> Result<ChainDetail, StoreError> {
        self.snapshot(|conn| {
            let key = conn
                .prepare_cached("SELECT id FROM chains WHERE chain_id = ?1")?
                .query_row([&id.0], |row| row.get(0))
                .optional()?;
            key.map(|key| detail::chain(conn, key, depth)).transpose()
        })?
        .ok_or_else(|| self.unknown("chain", &id.0, "; `amend ls` lists them"))
    }

    /// What a step of a chain says, by its ordinal, or with `None` what a person wrote, and then the draft; `None`
    /// where there is no such text.
    pub fn text_and_draft(
        &self,
        chain: &ChainId,
        ordinal: Option<u32>,
    ) -> Result<Option<[String; 2]>, StoreError> {
        let both =
            |row: &Row<'_>| -> rusqlite::Result<[String; 2]> { Ok([row.get(0)?, row.get(1)?]) };
        self.read(|conn| {
            let found = match ordinal {
                Some(ordinal) => conn
                    .prepare_cached(
                        "SELECT t.body, ifnull(d.body, '') FROM chains c
                         JOIN steps s ON s.chain = c.id AND s.ordinal = ?2
                         JOIN texts t ON t.id = s.output LEFT JOIN texts d ON d.id = c.draft
                         WHERE c.chain_id = ?1",
                    )?
                    .query_row(params![chain.0, ordinal], both),
                None => conn
                    .prepare_cached(
                        "SELECT t.body, ifnull(d.body, '') FROM chains c
                         JOIN texts t ON t.id = c.chosen LEFT JOIN texts d ON d.id = c.draft
                         WHERE c.chain_id = ?1",
                    )?
                    .query_row([&chain.0], both),
            };
            found.optional()
        })
    }

    /// Hands out the matching chains by run id and position, one at a time, until `each` breaks. `run`
    /// is a whole run id. Other reads, such as [`chain`](Self::chain), may be made meanwhile, and see the
    /// store as it was when this began.
    pub fn for_each_chain<B>(
        &self,
        filter: &Filter,
        run: Option<&str>,
        mut each: impl FnMut(ChainRow) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, StoreError> {
        self.for_each_key(filter, run, |conn, key| Ok(each(chain_row(conn, key)?)))
    }

    /// The same with whole chains, or with as much of them as is asked for. Where no format or page needs the
    /// model calls, `Depth::Texts` is several times faster.
    pub fn for_each_whole_chain<B>(
        &self,
        filter: &Filter,
        run: Option<&str>,
        depth: Depth,
        mut each: impl FnMut(ChainDetail) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, StoreError> {
        let mut chains = self.read(|_| Chains::of(&self.conn, depth))?;
        self.for_each_key(filter, run, |_, key| Ok(each(chains.read(key)?)))
    }

    fn for_each_key<B>(
        &self,
        filter: &Filter,
        run: Option<&str>,
        mut each: impl FnMut(&Connection, i64) -> rusqlite::Result<ControlFlow<B>>,
    ) -> Result<ControlFlow<B>, StoreError> {
        let condition = filter_sql::condition(filter, run);
        self.snapshot(|conn| {
            // Keys first and rows after: what SQLite may have to sort stays small.
            let sql = format!(
                "SELECT c.id FROM {BY_RUN} WHERE {} ORDER BY r.run_id, c.position, c.sample",
                condition.sql
            );
            let mut statement = conn.prepare(&sql)?;
            let mut keys = statement.query(params_from_iter(&condition.params))?;
            while let Some(key) = keys.next()? {
                if let ControlFlow::Break(value) = each(conn, key.get(0)?)? {
                    return Ok(ControlFlow::Break(value));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Lets it keep few pages in memory: who reads every chain once, in order, gains nothing by more.
    pub fn keep_few_pages(&self) -> Result<(), StoreError> {
        self.read(|conn| conn.pragma_update(None, "cache_size", open::FEW_PAGES))
    }

    /// Lets several reads see the store as it is now, whatever is written meanwhile.
    pub fn at_one_moment<T>(&self, read: impl FnOnce() -> T) -> Result<T, StoreError> {
        self.snapshot(|_| Ok(read()))
    }

    /// How many chains match.
    pub fn count(&self, filter: &Filter, run: Option<&str>) -> Result<u64, StoreError> {
        let condition = filter_sql::condition(filter, run);
        self.read(|conn| {
            let sql = format!("SELECT count(*) FROM {FROM} WHERE {}", condition.sql);
            conn.prepare(&sql)?
                .query_row(params_from_iter(&condition.params), |row| {
                    read::count(row, 0)
                })
        })
    }

    /// The runs that have a matching chain, by their whole ids, oldest first. Unlike
    /// [`run_stats`](Self::run_stats) it adds nothing up.
    pub fn runs_with(&self, filter: &Filter, run: Option<&str>) -> Result<Vec<String>, StoreError> {
        let condition = filter_sql::condition(filter, run);
        self.read(|conn| {
            let sql = format!(
                "SELECT r.run_id FROM v_filter_runs r
                 WHERE r.run IN (SELECT c.run FROM {FROM} WHERE {}) ORDER BY r.run",
                condition.sql
            );
            let mut statement = conn.prepare(&sql)?;
            let rows =
                statement.query_map(params_from_iter(&condition.params), |row| row.get(0))?;
            rows.collect()
        })
    }

    /// Figures per principle over the matching chains, by principle id.
    pub fn principle_stats(
        &self,
        filter: &Filter,
        run: Option<&str>,
    ) -> Result<Vec<PrincipleStats>, StoreError> {
        self.snapshot(|conn| stats::principles(conn, filter, run))
    }

    /// Figures per run over the matching chains, oldest run first. Where a filter is given, runs without
    /// a matching chain are left out.
    pub fn run_stats(
        &self,
        filter: &Filter,
        run: Option<&str>,
    ) -> Result<Vec<RunStats>, StoreError> {
        let runs = self.runs()?;
        self.snapshot(|conn| {
            let wanted = |row: &&RunRow| run.is_none_or(|run| run == row.run_id);
            let mut all = Vec::new();
            for row in runs.iter().filter(wanted) {
                let stats = stats::run(conn, filter, &row.run_id)?;
                if filter.is_all() || stats.chains > 0 {
                    all.push(stats);
                }
            }
            Ok(all)
        })
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        read(&self.conn).map_err(|error| StoreError::sqlite(&self.path, error))
    }

    /// Several reads that see the store at one moment. Nested calls see the outermost one's.
    pub(super) fn snapshot<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if !self.conn.is_autocommit() {
            return self.read(read);
        }
        self.read(|conn| {
            let transaction = conn.unchecked_transaction()?;
            let value = read(conn)?;
            transaction.finish()?;
            Ok(value)
        })
    }
}

fn enumerate(mut names: Vec<String>) -> String {
    let more = names.len() > CANDIDATES;
    names.truncate(CANDIDATES);
    format!("{}{}", names.join(", "), if more { ", …" } else { "" })
}

const RUN_COLUMNS: &str =
    "run_id, created_at, updated_at, state, constitution, constitution_version,
    constitution_digest, pack, pack_digest, model, model_digest, prompts_path, prompts_digest,
    chains, running, done, failed";

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        run_id: row.get(0)?,
        created_at: row.get(1)?,
        updated_at: row.get(2)?,
        state: read::name(row, 3)?,
        constitution: row.get(4)?,
        constitution_version: row.get(5)?,
        constitution_digest: row.get(6)?,
        pack: row.get(7)?,
        pack_digest: row.get(8)?,
        model: row.get(9)?,
        model_digest: row.get(10)?,
        prompts_path: row.get(11)?,
        prompts_digest: row.get(12)?,
        chains: read::count(row, 13)?,
        running: read::count(row, 14)?,
        done: read::count(row, 15)?,
        failed: read::count(row, 16)?,
    })
}

const CHAIN_BY_ID: &str =
    "SELECT chain_id, run_id, prompt_id, prompt, sample, position, status, stop_reason,
    rounds, draft, final, revised, changed, length_ratio, regressions, regressed_principles,
    violated_principles, flags, steps, prompt_tokens, cached_tokens, tokens, error, label, chosen, note
    FROM v_chains WHERE chain_id = ?1";

/// A row of `v_chains` by the chain's key.
pub(super) fn chain_row(conn: &Connection, key: i64) -> rusqlite::Result<ChainRow> {
    let id: String = conn
        .prepare_cached("SELECT chain_id FROM chains WHERE id = ?1")?
        .query_row([key], |row| row.get(0))?;
    chain_by_id(conn, &id)
}

pub(super) fn chain_by_id(conn: &Connection, id: &str) -> rusqlite::Result<ChainRow> {
    conn.prepare_cached(CHAIN_BY_ID)?.query_row([id], |row| {
        Ok(ChainRow {
            chain_id: row.get(0)?,
            run_id: row.get(1)?,
            prompt_id: row.get(2)?,
            prompt: row.get(3)?,
            sample: row.get(4)?,
            position: read::count(row, 5)?,
            status: read::name(row, 6)?,
            stop_reason: read::maybe_name(row, 7)?,
            rounds: row.get(8)?,
            draft: row.get(9)?,
            last: row.get(10)?,
            revised: row.get(11)?,
            changed: row.get(12)?,
            length_ratio: row.get(13)?,
            regressions: row.get(14)?,
            regressed: read::names(row, 15)?,
            violated: read::names(row, 16)?,
            flags: read::names(row, 17)?,
            steps: row.get(18)?,
            prompt_tokens: read::count(row, 19)?,
            cached_tokens: read::count(row, 20)?,
            tokens: read::count(row, 21)?,
            error: row.get(22)?,
            label: read::maybe_name(row, 23)?,
            chosen: row.get(24)?,
            note: row.get(25)?,
        })
    })
}

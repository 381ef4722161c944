//! Lists of chains, page by page, with exact counts.
//!
//! Rows are short: a prompt's excerpt and no texts, so that a page of chains with long answers is read as fast
//! as one with short answers. Pages are ordered by run (oldest first), position and sample, or by a column
//! and then so.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::{Deserialize, Serialize};

use super::filter_sql::{self, Ask, Condition, FROM};
use super::rows::ChainState;
use super::{Filter, Label, Store, StoreError, read};
use crate::chain::{ChainId, Flag, StopReason};

/// Characters of a prompt that a row shows.
const EXCERPT: u32 = 240;

/// What a list is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SortKey {
    /// The order of the prompts.
    #[default]
    Prompt,
    /// Rounds begun.
    Rounds,
    /// Share of words changed.
    Changed,
    /// Length of the final text over that of the draft.
    Len,
    /// Why the chain ended.
    Stop,
    /// What people say.
    Label,
    /// Tokens of all replies.
    Tokens,
}

impl SortKey {
    /// Every key.
    pub const ALL: [SortKey; 7] = [
        SortKey::Prompt,
        SortKey::Rounds,
        SortKey::Changed,
        SortKey::Len,
        SortKey::Stop,
        SortKey::Label,
        SortKey::Tokens,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            SortKey::Prompt => "prompt",
            SortKey::Rounds => "rounds",
            SortKey::Changed => "changed",
            SortKey::Len => "len",
            SortKey::Stop => "stop",
            SortKey::Label => "label",
            SortKey::Tokens => "tokens",
        }
    }

    /// The column, where NULL comes before everything.
    fn column(self) -> Option<&'static str> {
        match self {
            SortKey::Prompt => None,
            SortKey::Rounds => Some("c.rounds"),
            SortKey::Changed => Some("ifnull(c.changed, -1.0)"),
            SortKey::Len => Some("ifnull(c.length_ratio, -1.0)"),
            SortKey::Stop => Some("ifnull(c.stop_reason, '')"),
            SortKey::Label => Some("ifnull(c.label, '')"),
            SortKey::Tokens => Some("c.tokens"),
        }
    }
}

/// An order of chains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sort {
    /// By what.
    pub key: SortKey,
    /// The other way round.
    pub descending: bool,
}

impl Sort {
    /// The columns that make the order total.
    fn columns(self) -> Vec<&'static str> {
        let first = self.key.column();
        first
            .into_iter()
            .chain(["c.run", "c.position", "c.sample"])
            .collect()
    }

    fn order_by(self, reversed: bool) -> String {
        let direction = if self.descending != reversed {
            " DESC"
        } else {
            ""
        };
        let columns: Vec<_> = self
            .columns()
            .iter()
            .map(|column| format!("{column}{direction}"))
            .collect();
        columns.join(", ")
    }
}

/// Which chains of a list.
#[derive(Clone, Debug)]
pub struct PageRequest<'a> {
    /// Which chains are in the list.
    pub filter: &'a Filter,
    /// Of which run, by its whole id; `None` for all.
    pub run: Option<&'a str>,
    /// Their order.
    pub sort: Sort,
    /// Rows before the page.
    pub offset: u64,
    /// The most rows of the page.
    pub limit: u32,
}

impl PageRequest<'_> {
    fn window(&self) -> String {
        let offset = i64::try_from(self.offset).unwrap_or(i64::MAX);
        format!("LIMIT {} OFFSET {offset}", self.limit)
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// How many chains the whole list has.
    pub total: u64,
    /// The chains of this page.
    pub rows: Vec<ListRow>,
}

/// A chain in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListRow {
    /// Its name.
    pub chain_id: String,
    /// The run that it belongs to.
    pub run_id: String,
    /// The prompt's id in its file.
    pub prompt_id: String,
    /// The beginning of what the person says last, at most 240 characters.
    pub prompt: String,
    /// Which response to the prompt this is, from 0.
    pub sample: u32,
    /// Its place in the run.
    pub position: u64,
    /// Where it stands.
    pub status: ChainState,
    /// Why it ended; `None` while it runs.
    pub stop_reason: Option<StopReason>,
    /// Rounds begun; 0 until the chain ends.
    pub rounds: u32,
    /// Whether a revision was adopted.
    pub revised: bool,
    /// Share of words that differ between draft and final text, 0 to 1.
    pub changed: Option<f64>,
    /// Length of the final text over that of the draft, in characters.
    pub length_ratio: Option<f64>,
    /// Principles that the final text violates again, by recheck.
    pub regressed: Vec<String>,
    /// Principles that a critique found violated, in the order of the chain.
    pub violated: Vec<String>,
    /// Failure modes that any of its steps shows.
    pub flags: Vec<Flag>,
    /// Tokens of all replies.
    pub tokens: u64,
    /// What people say about it.
    pub label: Option<Label>,
    /// Whether a person wrote a text in place of the final one.
    pub edited: bool,
    /// Whether there is a note.
    pub noted: bool,
}

/// Where a chain stands in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListPlace {
    /// How many chains come before it.
    pub index: u64,
    /// How many chains the list has.
    pub total: u64,
    /// Whether the chain itself is in the list.
    pub listed: bool,
    /// The chain before it.
    pub previous: Option<String>,
    /// The chain after it.
    pub next: Option<String>,
}

impl Store {
    /// A page of a list, and how many chains the list has.
    pub fn page(&self, request: &PageRequest<'_>) -> Result<Page, StoreError> {
        self.snapshot(|conn| {
            let (total, keys) = match request.sort.key {
                // What a search finds is found once.
                SortKey::Prompt if !request.filter.searches() => in_order(conn, request)?,
                _ => sorted(conn, request)?,
            };
            let rows = keys.into_iter().map(|key| list_row(conn, key));
            Ok(Page {
                total,
                rows: rows.collect::<rusqlite::Result<_>>()?,
            })
        })
    }

    /// Where a chain stands in a list, with its neighbours there; also of a chain that is not in it.
    pub fn place(
        &self,
        filter: &Filter,
        run: Option<&str>,
        sort: Sort,
        chain: &ChainId,
    ) -> Result<ListPlace, StoreError> {
        let found = self.snapshot(|conn| {
            let columns = sort.columns();
            let sql = format!(
                "SELECT {} FROM {FROM} WHERE c.chain_id = ?1",
                columns.join(", ")
            );
            let here: Option<Vec<SqlValue>> = conn
                .prepare_cached(&sql)?
                .query_row([&chain.0], |row| {
                    (0..columns.len()).map(|column| row.get(column)).collect()
                })
                .optional()?;
            here.map(|here| place(conn, filter, run, sort, &here))
                .transpose()
        })?;
        found.ok_or_else(|| self.unknown("chain", &chain.0, "; `amend ls` lists them"))
    }
}

/// Matches from which on a page is found sooner by looking at one chain after the other.
const MANY: u64 = 2000;

/// A page in the order of an index: what comes after it is never looked at.
fn in_order(conn: &Connection, request: &PageRequest<'_>) -> rusqlite::Result<(u64, Vec<i64>)> {
    let (filter, run) = (request.filter, request.run);
    let total = count(conn, &filter_sql::condition(filter, run))?;
    let ask = if total > MANY { Ask::Each } else { Ask::All };
    let condition = filter_sql::asking(filter, run, ask);
    let sql = format!(
        "SELECT c.id FROM {FROM} WHERE {} ORDER BY {} {}",
        condition.sql,
        request.sort.order_by(false),
        request.window()
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let keys = statement.query_map(params_from_iter(&condition.params), |row| row.get(0))?;
    Ok((total, keys.collect::<rusqlite::Result<_>>()?))
}

/// A page in another order, for which every match is looked at: found once, counted and sorted.
fn sorted(conn: &Connection, request: &PageRequest<'_>) -> rusqlite::Result<(u64, Vec<i64>)> {
    let condition = filter_sql::condition(request.filter, request.run);
    let names: Vec<_> = request
        .sort
        .columns()
        .iter()
        .enumerate()
        .map(|(index, column)| format!("{column} AS k{index}"))
        .collect();
    let direction = if request.sort.descending { " DESC" } else { "" };
    let order: Vec<_> = (0..names.len())
        .map(|index| format!("k{index}{direction}"))
        .collect();
    let sql = format!(
        "WITH sel AS MATERIALIZED (SELECT c.id AS chain, {} FROM {FROM} WHERE {})
         SELECT (SELECT count(*) FROM sel), chain FROM sel ORDER BY {} {}",
        names.join(", "),
        condition.sql,
        order.join(", "),
        request.window()
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(&condition.params), |row| {
        Ok((read::count(row, 0)?, row.get(1)?))
    })?;
    let found: Vec<(u64, i64)> = found.collect::<rusqlite::Result<_>>()?;
    let total = match found.first() {
        Some((total, _)) => *total,
        // An empty page says nothing about the others.
        None => count(conn, &condition)?,
    };
    Ok((total, found.into_iter().map(|(_, key)| key).collect()))
}

fn count(conn: &Connection, condition: &Condition) -> rusqlite::Result<u64> {
    let sql = format!("SELECT count(*) FROM {FROM} WHERE {}", condition.sql);
    conn.prepare_cached(&sql)?
        .query_row(params_from_iter(&condition.params), |row| {
            read::count(row, 0)
        })
}

/// The condition with the place of a chain as further parameters: their marks, as a row value.
fn with_place(mut condition: Condition, here: &[SqlValue]) -> (Condition, String) {
    let from = condition.params.len();
    condition.params.extend_from_slice(here);
    let marks: Vec<_> = (from + 1..=condition.params.len())
        .map(|n| format!("?{n}"))
        .collect();
    (condition, marks.join(", "))
}

fn place(
    conn: &Connection,
    filter: &Filter,
    run: Option<&str>,
    sort: Sort,
    here: &[SqlValue],
) -> rusqlite::Result<ListPlace> {
    let columns = sort.columns().join(", ");
    let (before, after) = match sort.descending {
        true => (">", "<"),
        false => ("<", ">"),
    };
    let (all, marks) = with_place(filter_sql::condition(filter, run), here);
    let sql = format!(
        "SELECT count(*), ifnull(sum(({columns}) {before} ({marks})), 0),
             ifnull(sum(({columns}) = ({marks})), 0) FROM {FROM} WHERE {}",
        all.sql
    );
    let (total, index, listed) =
        conn.prepare_cached(&sql)?
            .query_row(params_from_iter(&all.params), |row| {
                Ok((
                    read::count(row, 0)?,
                    read::count(row, 1)?,
                    row.get::<_, i64>(2)? > 0,
                ))
            })?;
    let ask = if total > MANY { Ask::Each } else { Ask::All };
    let (condition, marks) = with_place(filter_sql::asking(filter, run, ask), here);
    let neighbour = |op: &str, order: String| -> rusqlite::Result<Option<String>> {
        let sql = format!(
            "SELECT c.chain_id FROM {FROM} WHERE {} AND ({columns}) {op} ({marks})
             ORDER BY {order} LIMIT 1",
            condition.sql
        );
        conn.prepare_cached(&sql)?
            .query_row(params_from_iter(&condition.params), |row| row.get(0))
            .optional()
    };
    Ok(ListPlace {
        index,
        total,
        listed,
        previous: neighbour(before, sort.order_by(true))?,
        next: neighbour(after, sort.order_by(false))?,
    })
}

fn list_row(conn: &Connection, key: i64) -> rusqlite::Result<ListRow> {
    conn.prepare_cached(
        "SELECT c.chain_id, r.run_id, p.prompt_id, substr(t.body, 1, ?2), c.sample, c.position,
             c.status, c.stop_reason, c.rounds, c.revised, c.changed, c.length_ratio, c.regressed,
             (SELECT ifnull(group_concat(principle, ','), '') FROM (
                 SELECT s.principle FROM steps s JOIN verdicts v ON v.step = s.id
                 WHERE s.chain = c.id AND s.kind = 'critique' AND v.violated
                 GROUP BY s.principle ORDER BY min(s.ordinal))),
             (SELECT ifnull(group_concat(flag, ','), '') FROM (
                 SELECT DISTINCT f.flag FROM steps s JOIN step_flags f ON f.step = s.id
                 WHERE s.chain = c.id ORDER BY f.flag)),
             c.tokens, c.label, c.chosen IS NOT NULL, c.note IS NOT NULL
         FROM chains c JOIN runs r ON r.id = c.run JOIN prompts p ON p.id = c.prompt
         JOIN texts t ON t.id = p.text WHERE c.id = ?1",
    )?
    .query_row((key, EXCERPT), from_row)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ListRow> {
    Ok(ListRow {
        chain_id: row.get(0)?,
        run_id: row.get(1)?,
        prompt_id: row.get(2)?,
        prompt: row.get(3)?,
        sample: row.get(4)?,
        position: read::count(row, 5)?,
        status: read::name(row, 6)?,
        stop_reason: read::maybe_name(row, 7)?,
        rounds: row.get(8)?,
        revised: row.get(9)?,
        changed: row.get(10)?,
        length_ratio: row.get(11)?,
        regressed: read::json(row, 12)?,
        violated: read::names(row, 13)?,
        flags: read::names(row, 14)?,
        tokens: read::count(row, 15)?,
        label: read::maybe_name(row, 16)?,
        edited: row.get(17)?,
        noted: row.get(18)?,
    })
}

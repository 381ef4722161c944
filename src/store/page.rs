//! Lists of chains, page by page, with exact counts.
//!
//! Rows are short: a prompt's excerpt and no texts, so that a page of chains with long answers is read as fast
//! as one with short answers. Pages are ordered by run (oldest first), position and sample, or by a column
//! and then so.
//!
//! What matches is found once, as a set. The order of the prompts is that of an index, which is walked as far as
//! the page goes; for another order one walk over the chains reads what they are ordered by.

use std::cmp::Ordering;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::chain_set::ChainSet;
use super::filter_sql::FROM;
use super::overview::Seen;
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

    /// What is ordered by, of `c`; NULL comes before everything.
    fn column(self) -> &'static str {
        match self {
            SortKey::Prompt => "NULL",
            SortKey::Rounds => "c.rounds",
            SortKey::Changed => "c.changed",
            SortKey::Len => "c.length_ratio",
            SortKey::Stop => "ifnull(c.stop_reason, '')",
            SortKey::Label => "ifnull(c.label, '')",
            SortKey::Tokens => "c.tokens",
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
    fn order(self, a: &Rank, b: &Rank) -> Ordering {
        let order = a.order(b);
        if self.descending {
            order.reverse()
        } else {
            order
        }
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
    /// Whether all chains are in the list, in the order of the prompts.
    fn is_whole(&self) -> bool {
        self.filter.is_all() && self.run.is_none() && self.sort.key == SortKey::Prompt
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
            let (total, keys) = if request.is_whole() {
                whole(conn, request)?
            } else {
                let seen = self.overview().now(conn)?;
                let found = seen.matching(conn, request.filter, request.run)?;
                (found.count(), window(conn, &seen, &found, request)?)
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
            let sql = format!("{} WHERE c.chain_id = ?1", ranks(sort.key));
            let here = conn
                .prepare_cached(&sql)?
                .query_row([&chain.0], rank)
                .optional()?;
            let Some(here) = here else { return Ok(None) };
            let seen = self.overview().now(conn)?;
            let found = seen.matching(conn, filter, run)?;
            place(conn, &seen, &found, sort, &here).map(Some)
        })?;
        found.ok_or_else(|| self.unknown("chain", &chain.0, "; `amend ls` lists them"))
    }
}

/// So many chains are sooner looked up one by one than met on a walk over all of them.
const FEW: u64 = 2000;

/// What a chain is ordered by.
#[derive(Clone, Debug)]
struct Rank {
    value: RankValue,
    /// Run, position and sample; and its key, which makes the order total.
    place: [i64; 4],
}

/// What a column holds, in the order of SQLite.
#[derive(Clone, Debug)]
enum RankValue {
    Nothing,
    Number(f64),
    Text(String),
}

impl Rank {
    fn key(&self) -> i64 {
        self.place[3]
    }

    fn order(&self, other: &Self) -> Ordering {
        self.value
            .order(&other.value)
            .then_with(|| self.place.cmp(&other.place))
    }
}

impl RankValue {
    fn order(&self, other: &Self) -> Ordering {
        use RankValue::{Nothing, Number, Text};
        match (self, other) {
            (Number(a), Number(b)) => a.total_cmp(b),
            (Text(a), Text(b)) => a.cmp(b),
            (Nothing, Nothing) => Ordering::Equal,
            (Nothing, _) | (Number(_), Text(_)) => Ordering::Less,
            (_, Nothing) | (Text(_), Number(_)) => Ordering::Greater,
        }
    }
}

/// The columns that [`rank`] reads.
fn ranks(key: SortKey) -> String {
    let column = key.column();
    format!("SELECT {column}, c.run, c.position, c.sample, c.id FROM {FROM}")
}

fn rank(row: &Row<'_>) -> rusqlite::Result<Rank> {
    let value = match row.get_ref(0)? {
        ValueRef::Integer(number) => RankValue::Number(number as f64),
        ValueRef::Real(number) => RankValue::Number(number),
        ValueRef::Text(_) => RankValue::Text(row.get(0)?),
        ValueRef::Null | ValueRef::Blob(_) => RankValue::Nothing,
    };
    Ok(Rank {
        value,
        place: [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?],
    })
}

/// Hands out what the chains of a set are ordered by, in any order.
fn each_rank(
    conn: &Connection,
    seen: &Seen<'_>,
    set: &ChainSet,
    key: SortKey,
    mut each: impl FnMut(Rank),
) -> rusqlite::Result<()> {
    let all = ranks(key);
    if set.count() <= FEW {
        let mut statement = conn.prepare_cached(&format!("{all} WHERE c.id = ?1"))?;
        for key in seen.keys(set) {
            if let Some(rank) = statement.query_row([key], rank).optional()? {
                each(rank);
            }
        }
        return Ok(());
    }
    let mut statement = conn.prepare_cached(&all)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = seen.place(row.get(4)?);
        if place.is_some_and(|place| set.holds(place)) {
            each(rank(row)?);
        }
    }
    Ok(())
}

/// How many chains there are, and those of a page of them all. It is what a viewer shows first, and needs nothing that
/// has to be read of every chain.
fn whole(conn: &Connection, request: &PageRequest<'_>) -> rusqlite::Result<(u64, Vec<i64>)> {
    let total = conn
        .prepare_cached(&format!("SELECT count(*) FROM {FROM}"))?
        .query_row([], |row| read::count(row, 0))?;
    let sql = format!("{} LIMIT ?1 OFFSET ?2", in_order(request.sort));
    let offset = i64::try_from(request.offset).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(&sql)?;
    let keys = statement.query_map((request.limit, offset), |row| row.get(0))?;
    Ok((total, keys.collect::<rusqlite::Result<_>>()?))
}

/// The keys of all chains in the order of the prompts, which is that of an index.
fn in_order(sort: Sort) -> String {
    let direction = if sort.descending { " DESC" } else { "" };
    format!(
        "SELECT c.id FROM {FROM} ORDER BY c.run{direction}, c.position{direction}, c.sample{direction}"
    )
}

/// The chains of a page, by their keys.
fn window(
    conn: &Connection,
    seen: &Seen<'_>,
    set: &ChainSet,
    request: &PageRequest<'_>,
) -> rusqlite::Result<Vec<i64>> {
    let sort = request.sort;
    if request.limit == 0 || request.offset >= set.count() {
        return Ok(Vec::new());
    }
    if sort.key == SortKey::Prompt && set.count() > FEW {
        return by_prompt(conn, seen, set, request);
    }
    let mut ranks = Vec::new();
    each_rank(conn, seen, set, sort.key, |rank| ranks.push(rank))?;
    let order = |a: &Rank, b: &Rank| sort.order(a, b);
    // What stands before and behind the page is set apart, and only the page is put in order.
    let first = usize::try_from(request.offset).unwrap_or(usize::MAX);
    if (1..ranks.len()).contains(&first) {
        ranks.select_nth_unstable_by(first, order);
    }
    let mut page = ranks.split_off(first.min(ranks.len()));
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    if (1..page.len()).contains(&limit) {
        page.select_nth_unstable_by(limit, order);
        page.truncate(limit);
    }
    page.sort_unstable_by(order);
    Ok(page.iter().map(Rank::key).collect())
}

/// The same in the order of an index: what comes behind the page is never looked at.
fn by_prompt(
    conn: &Connection,
    seen: &Seen<'_>,
    set: &ChainSet,
    request: &PageRequest<'_>,
) -> rusqlite::Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(&in_order(request.sort))?;
    let mut rows = statement.query([])?;
    let (mut keys, mut before) = (Vec::new(), 0);
    while keys.len() < request.limit as usize {
        let Some(row) = rows.next()? else { break };
        let key = row.get(0)?;
        if !seen.place(key).is_some_and(|place| set.holds(place)) {
            continue;
        }
        if before < request.offset {
            before += 1;
        } else {
            keys.push(key);
        }
    }
    Ok(keys)
}

fn place(
    conn: &Connection,
    seen: &Seen<'_>,
    set: &ChainSet,
    sort: Sort,
    here: &Rank,
) -> rusqlite::Result<ListPlace> {
    let (mut index, mut listed) = (0, false);
    let (mut previous, mut next): (Option<Rank>, Option<Rank>) = (None, None);
    each_rank(conn, seen, set, sort.key, |rank| {
        match sort.order(&rank, here) {
            Ordering::Equal => listed = true,
            Ordering::Less => {
                index += 1;
                let nearer = |other: &Rank| sort.order(other, &rank).is_lt();
                if previous.as_ref().is_none_or(nearer) {
                    previous = Some(rank);
                }
            }
            Ordering::Greater => {
                let nearer = |other: &Rank| sort.order(&rank, other).is_lt();
                if next.as_ref().is_none_or(nearer) {
                    next = Some(rank);
                }
            }
        }
    })?;
    let name = |rank: Option<Rank>| {
        rank.map(|rank| {
            conn.prepare_cached("SELECT chain_id FROM chains WHERE id = ?1")?
                .query_row([rank.key()], |row| row.get::<_, String>(0))
        })
        .transpose()
    };
    Ok(ListPlace {
        index,
        total: set.count(),
        listed,
        previous: name(previous)?,
        next: name(next)?,
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

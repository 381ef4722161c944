//! Figures over the chains that a filter selects, for the charts above a list.

use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;

use super::filter_key::NO_LABEL;
use super::filter_sql::{self, FROM};
use super::rows::NameCount;
use super::{Filter, Store, StoreError};

/// Where one bar of the lengths ends and the next begins: final text over draft.
const LENGTHS: [f64; 9] = [0.5, 0.8, 0.95, 1.05, 1.25, 1.5, 2.0, 3.0, 5.0];

/// What can be counted of a list of chains.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Facets {
    /// Chains.
    pub chains: u64,
    /// Chains in which a revision was adopted.
    pub revised: u64,
    /// Chains whose final text violates a principle again.
    pub regressed: u64,
    /// Chains by status.
    pub statuses: Vec<NameCount>,
    /// Ended chains by stop reason.
    pub stop_reasons: Vec<NameCount>,
    /// Chains by label; those without one under `none`.
    pub labels: Vec<NameCount>,
    /// Verdicts of critiques by principle.
    pub principles: Vec<PrincipleCount>,
    /// Chains by round in which a revision was adopted; a chain may have several.
    pub rounds: Vec<RoundCount>,
    /// Ended chains by length of the final text over that of the draft.
    pub lengths: Vec<LengthCount>,
    /// Chains by flag; a chain may have several.
    pub flags: Vec<NameCount>,
}

/// Verdicts of a principle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrincipleCount {
    /// The principle.
    pub principle_id: String,
    /// Critiques with a verdict under it.
    pub asked: u64,
    /// Those that found it violated.
    pub violated: u64,
}

/// Chains that a round revised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundCount {
    /// The round, from 1.
    pub round: u32,
    /// Chains in which a revision was adopted in it.
    pub chains: u64,
}

/// Chains with a length ratio from `from` to below `to`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthCount {
    /// The least ratio.
    pub from: f64,
    /// The ratio that is too much; `None` for no limit.
    pub to: Option<f64>,
    /// Chains.
    pub count: u64,
}

impl Store {
    /// Figures over the matching chains. `run` is a whole id.
    pub fn facets(&self, filter: &Filter, run: Option<&str>) -> Result<Facets, StoreError> {
        self.snapshot(|conn| {
            let (mut facets, selected) = chains(conn, filter, run)?;
            let every: i64 = conn.query_row("SELECT count(*) FROM chains", [], |row| row.get(0))?;
            if selected.0.len() as i64 * LITTLE < every {
                add_little(conn, &selected, &mut facets)?;
            } else {
                add_much(conn, &selected, &mut facets)?;
            }
            facets
                .flags
                .sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
            facets
                .principles
                .sort_by(|a, b| a.principle_id.cmp(&b.principle_id));
            facets.rounds.sort_by_key(|round| round.round);
            Ok(facets)
        })
    }
}

/// Of so many chains less than one is selected where each is asked for by itself.
const LITTLE: i64 = 64;

/// Keys of the selected chains.
struct Selected(Vec<i64>);

const PRINCIPLES: &str = "SELECT chain, principle, violated FROM verdicts
    WHERE kind = 'critique' AND principle IS NOT NULL";
const ROUNDS: &str = "SELECT DISTINCT chain, round FROM steps WHERE kind = 'revision' AND adopted";
const FLAGS: &str = "SELECT DISTINCT chain, flag FROM step_flags WHERE 1";

/// Asks for each selected chain.
fn add_little(conn: &Connection, selected: &Selected, facets: &mut Facets) -> rusqlite::Result<()> {
    let mut each = |sql: &str, add: fn(&mut Facets, &Row<'_>) -> rusqlite::Result<()>| {
        let mut statement = conn.prepare_cached(&format!("{sql} AND chain = ?1"))?;
        for chain in &selected.0 {
            let mut rows = statement.query([chain])?;
            while let Some(row) = rows.next()? {
                add(facets, row)?;
            }
        }
        Ok::<_, rusqlite::Error>(())
    };
    each(PRINCIPLES, add_principle)?;
    each(ROUNDS, add_round)?;
    each(FLAGS, add_flag)
}

/// Reads whole indexes, and leaves out what belongs to other chains.
fn add_much(conn: &Connection, selected: &Selected, facets: &mut Facets) -> rusqlite::Result<()> {
    let last = selected.0.iter().max().copied().unwrap_or(0);
    // Keys are given out one after the other, so that this is little larger than the list itself.
    let mut member = vec![false; usize::try_from(last).unwrap_or(0) + 1];
    for chain in &selected.0 {
        if let Some(member) = usize::try_from(*chain)
            .ok()
            .and_then(|key| member.get_mut(key))
        {
            *member = true;
        }
    }
    let mut each = |sql: &str, add: fn(&mut Facets, &Row<'_>) -> rusqlite::Result<()>| {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let chain: i64 = row.get(0)?;
            let key = usize::try_from(chain).unwrap_or(usize::MAX);
            if member.get(key) == Some(&true) {
                add(facets, row)?;
            }
        }
        Ok::<_, rusqlite::Error>(())
    };
    // In the order of what is counted, so that the last count is nearly always the one that grows.
    each(&format!("{PRINCIPLES} ORDER BY principle"), add_principle)?;
    each(&format!("{ROUNDS} ORDER BY round"), add_round)?;
    each(&format!("{FLAGS} ORDER BY flag"), add_flag)
}

fn add_principle(facets: &mut Facets, row: &Row<'_>) -> rusqlite::Result<()> {
    let principle = name(row, 1)?.unwrap_or_default();
    let violated = u64::from(row.get::<_, bool>(2)?);
    let mut known = facets.principles.iter_mut().rev();
    match known.find(|known| known.principle_id == principle) {
        Some(known) => {
            known.asked += 1;
            known.violated += violated;
        }
        None => facets.principles.push(PrincipleCount {
            principle_id: principle.to_owned(),
            asked: 1,
            violated,
        }),
    }
    Ok(())
}

fn add_round(facets: &mut Facets, row: &Row<'_>) -> rusqlite::Result<()> {
    let round: u32 = row.get(1)?;
    let mut known = facets.rounds.iter_mut().rev();
    match known.find(|known| known.round == round) {
        Some(known) => known.chains += 1,
        None => facets.rounds.push(RoundCount { round, chains: 1 }),
    }
    Ok(())
}

fn add_flag(facets: &mut Facets, row: &Row<'_>) -> rusqlite::Result<()> {
    add(&mut facets.flags, name(row, 1)?);
    Ok(())
}

/// Everything that one walk over the chains can count.
fn chains(
    conn: &Connection,
    filter: &Filter,
    run: Option<&str>,
) -> rusqlite::Result<(Facets, Selected)> {
    let condition = filter_sql::condition(filter, run);
    let sql = format!(
        "SELECT c.status, c.stop_reason, c.label, c.length_ratio, c.revised, c.regressed, c.id
         FROM {FROM} WHERE {}",
        condition.sql
    );
    let mut facets = Facets {
        lengths: lengths(),
        ..Facets::default()
    };
    let mut keys = Vec::new();
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(&condition.params))?;
    while let Some(row) = rows.next()? {
        keys.push(row.get(6)?);
        facets.chains += 1;
        facets.revised += u64::from(row.get::<_, bool>(4)?);
        facets.regressed += u64::from(row.get::<_, bool>(5)?);
        add(&mut facets.statuses, name(row, 0)?);
        add(&mut facets.stop_reasons, name(row, 1)?);
        add(&mut facets.labels, name(row, 2)?.or(Some(NO_LABEL)));
        if let Some(ratio) = row.get::<_, Option<f64>>(3)? {
            let bar = facets.lengths.iter_mut();
            let mut fitting = bar.filter(|bar| bar.to.is_none_or(|to| ratio < to));
            if let Some(bar) = fitting.next() {
                bar.count += 1;
            }
        }
    }
    for counts in [
        &mut facets.statuses,
        &mut facets.stop_reasons,
        &mut facets.labels,
    ] {
        counts.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok((facets, Selected(keys)))
}

fn name<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<Option<&'a str>> {
    Ok(row.get_ref(column)?.as_str_or_null()?)
}

fn lengths() -> Vec<LengthCount> {
    let starts = [0.0].into_iter().chain(LENGTHS);
    let ends = LENGTHS.into_iter().map(Some).chain([None]);
    starts
        .zip(ends)
        .map(|(from, to)| LengthCount { from, to, count: 0 })
        .collect()
}

fn add(counts: &mut Vec<NameCount>, name: Option<&str>) {
    let Some(name) = name else { return };
    match counts.iter_mut().rev().find(|known| known.name == name) {
        Some(known) => known.count += 1,
        None => counts.push(NameCount {
            name: name.to_owned(),
            count: 1,
        }),
    }
}

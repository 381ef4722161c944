//! Figures over the chains that a filter selects, for the charts above a list.

use rusqlite::{Connection, Row};
use serde::Serialize;

use super::chain_set::ChainSet;
use super::filter_key::NO_LABEL;
use super::overview::{End, Finding, Seen};
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
            let seen = self.overview().now(conn)?;
            let set = seen.matching(conn, filter, run)?;
            let mut facets = Facets {
                chains: set.count(),
                lengths: lengths(),
                ..Facets::default()
            };
            add_ends(conn, &seen, &set, &mut facets)?;
            add_labels(conn, &seen, &set, &mut facets)?;
            for (finding, count) in seen.findings(&set) {
                add_finding(&mut facets, &finding, count);
            }
            for counts in [
                &mut facets.statuses,
                &mut facets.stop_reasons,
                &mut facets.labels,
            ] {
                counts.sort_by(|a, b| a.name.cmp(&b.name));
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

/// What the rows of chains say. Those of chains that are done are known already.
fn add_ends(
    conn: &Connection,
    seen: &Seen<'_>,
    set: &ChainSet,
    facets: &mut Facets,
) -> rusqlite::Result<()> {
    let mut open = seen.none();
    let columns = End::COLUMNS;
    let sql = format!(
        "SELECT c.id, {columns} FROM runs r CROSS JOIN chains c
         ON c.run = r.id AND c.status IN ('running', 'failed')"
    );
    each(conn, &sql, |row| {
        let place = seen.place(row.get(0)?);
        if let Some(place) = place.filter(|place| set.holds(*place)) {
            open.insert(place);
            add_end(facets, End::read(row, 1)?);
        }
        Ok(())
    })?;
    let done = set.iter().filter(|place| !open.holds(*place));
    seen.each_end(done, |end| add_end(facets, end));
    Ok(())
}

fn add_end(facets: &mut Facets, end: End<'_>) {
    facets.revised += u64::from(end.revised);
    facets.regressed += u64::from(end.regressed);
    add(&mut facets.statuses, end.status, 1);
    if let Some(stop) = end.stop {
        add(&mut facets.stop_reasons, stop, 1);
    }
    if let Some(ratio) = end.length_ratio {
        let bar = facets.lengths.iter_mut();
        let mut fitting = bar.filter(|bar| bar.to.is_none_or(|to| ratio < to));
        if let Some(bar) = fitting.next() {
            bar.count += 1;
        }
    }
}

fn add_labels(
    conn: &Connection,
    seen: &Seen<'_>,
    set: &ChainSet,
    facets: &mut Facets,
) -> rusqlite::Result<()> {
    let sql = "SELECT id, label FROM chains WHERE label IS NOT NULL";
    let mut labelled = 0;
    each(conn, sql, |row| {
        let place = seen.place(row.get(0)?);
        if place.is_some_and(|place| set.holds(place)) {
            labelled += 1;
            add(&mut facets.labels, row.get_ref(1)?.as_str()?, 1);
        }
        Ok(())
    })?;
    if facets.chains > labelled {
        let count = facets.chains - labelled;
        add(&mut facets.labels, NO_LABEL, count);
    }
    Ok(())
}

fn add_finding(facets: &mut Facets, finding: &Finding, count: u64) {
    match finding {
        Finding::Verdict {
            principle,
            violated,
        } => {
            let violations = if *violated { count } else { 0 };
            let mut known = facets.principles.iter_mut();
            match known.find(|known| known.principle_id == *principle) {
                Some(known) => {
                    known.asked += count;
                    known.violated += violations;
                }
                None => facets.principles.push(PrincipleCount {
                    principle_id: principle.clone(),
                    asked: count,
                    violated: violations,
                }),
            }
        }
        Finding::Revised(round) => facets.rounds.push(RoundCount {
            round: *round,
            chains: count,
        }),
        Finding::Flag(flag) => add(&mut facets.flags, flag, count),
    }
}

fn each(
    conn: &Connection,
    sql: &str,
    mut add: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        add(row)?;
    }
    Ok(())
}

fn lengths() -> Vec<LengthCount> {
    let starts = [0.0].into_iter().chain(LENGTHS);
    let ends = LENGTHS.into_iter().map(Some).chain([None]);
    starts
        .zip(ends)
        .map(|(from, to)| LengthCount { from, to, count: 0 })
        .collect()
}

fn add(counts: &mut Vec<NameCount>, name: &str, count: u64) {
    match counts.iter_mut().find(|known| known.name == name) {
        Some(known) => known.count += count,
        None => counts.push(NameCount {
            name: name.to_owned(),
            count,
        }),
    }
}

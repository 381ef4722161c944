//! Figures over the chains that a filter selects, for the charts above a list.

use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;

use super::filter_key::NO_LABEL;
use super::filter_sql::{self, FROM};
use super::rows::NameCount;
use super::stats::Selection;
use super::{Filter, Store, StoreError, read};

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
    /// Adopted revisions by round.
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

/// Revisions of a round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundCount {
    /// The round, from 1.
    pub round: u32,
    /// Revisions that were adopted in it.
    pub revisions: u64,
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
        let sel = Selection::new(filter, run);
        self.snapshot(|conn| {
            let mut facets = chains(conn, filter, run)?;
            let every: i64 = conn.query_row("SELECT count(*) FROM chains", [], |row| row.get(0))?;
            let part = Part::of(facets.chains, every.unsigned_abs());
            facets.principles = principles(conn, &sel, part)?;
            facets.rounds = rounds(conn, &sel, part)?;
            facets.flags = flags(conn, &sel, part)?;
            Ok(facets)
        })
    }
}

/// How much of the store is selected, which decides where to begin.
#[derive(Clone, Copy)]
enum Part {
    Everything,
    Much,
    Little,
}

impl Part {
    fn of(selected: u64, every: u64) -> Self {
        match selected {
            all if all == every => Part::Everything,
            little if little < every / 8 => Part::Little,
            _ => Part::Much,
        }
    }

    /// The rows `t` of a table that belong to selected chains, for a `FROM`, a `WHERE` and a condition.
    fn rows(self, table: &str) -> String {
        match self {
            Part::Everything => format!("{table} t WHERE 1"),
            Part::Much => format!("{table} t WHERE t.chain IN (SELECT id FROM sel)"),
            // As written: the other way round the whole table would be read.
            Part::Little => format!("sel CROSS JOIN {table} t ON t.chain = sel.id WHERE 1"),
        }
    }
}

/// Everything that one walk over the chains can count.
fn chains(conn: &Connection, filter: &Filter, run: Option<&str>) -> rusqlite::Result<Facets> {
    let condition = filter_sql::condition(filter, run);
    let sql = format!(
        "SELECT c.status, c.stop_reason, c.label, c.length_ratio, c.revised, c.regressed
         FROM {FROM} WHERE {}",
        condition.sql
    );
    let mut facets = Facets {
        lengths: lengths(),
        ..Facets::default()
    };
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(&condition.params))?;
    while let Some(row) = rows.next()? {
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
    Ok(facets)
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
    match counts.iter_mut().find(|known| known.name == name) {
        Some(known) => known.count += 1,
        None => counts.push(NameCount {
            name: name.to_owned(),
            count: 1,
        }),
    }
}

fn principles(
    conn: &Connection,
    sel: &Selection,
    part: Part,
) -> rusqlite::Result<Vec<PrincipleCount>> {
    sel.rows(
        conn,
        &format!(
            "SELECT t.principle, count(*), sum(t.violated) FROM {}
             AND t.kind = 'critique' AND t.principle IS NOT NULL
             GROUP BY t.principle ORDER BY t.principle",
            part.rows("verdicts")
        ),
        |row| {
            Ok(PrincipleCount {
                principle_id: row.get(0)?,
                asked: read::count(row, 1)?,
                violated: read::count(row, 2)?,
            })
        },
    )
}

fn rounds(conn: &Connection, sel: &Selection, part: Part) -> rusqlite::Result<Vec<RoundCount>> {
    sel.rows(
        conn,
        &format!(
            "SELECT t.round, count(*) FROM {} AND t.kind = 'revision' AND t.adopted
             GROUP BY t.round ORDER BY t.round",
            part.rows("steps")
        ),
        |row| {
            Ok(RoundCount {
                round: row.get(0)?,
                revisions: read::count(row, 1)?,
            })
        },
    )
}

fn flags(conn: &Connection, sel: &Selection, part: Part) -> rusqlite::Result<Vec<NameCount>> {
    sel.counts(
        conn,
        &format!(
            "SELECT flag, count(*) FROM (SELECT DISTINCT t.flag AS flag, t.chain AS chain FROM {})
             GROUP BY flag ORDER BY 2 DESC, flag",
            part.rows("step_flags")
        ),
    )
}

//! Reading what people said.

use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::{Agreement, CurrentLabel, LabelEntry};
use crate::chain::ChainId;
use crate::evaluation::Judged;
use crate::store::filter_sql::{self, FROM};
use crate::store::{Filter, Store, StoreError, read};

impl Store {
    /// The history of a chain's labels, oldest first.
    pub fn history(&self, chain: &ChainId) -> Result<Vec<LabelEntry>, StoreError> {
        let found = self.snapshot(|conn| {
            let key = chain_key(conn, chain)?;
            key.map(|(key, _)| entries(conn, key)).transpose()
        })?;
        found.ok_or_else(|| self.unknown("chain", &chain.0, "; `amend ls` lists them"))
    }

    /// The verdicts in matching chains that a person judged. `run` is a whole id.
    pub fn judged(&self, filter: &Filter, run: Option<&str>) -> Result<Vec<Judged>, StoreError> {
        let condition = filter_sql::condition(filter, run);
        let sql = format!(
            "SELECT v.principle, v.violated, v.probability, v.source, v.agreed
             FROM verdicts v JOIN {FROM} ON c.id = v.chain
             WHERE v.agreed IS NOT NULL AND v.principle IS NOT NULL AND ({}) ORDER BY v.step",
            condition.sql
        );
        self.read(|conn| {
            let mut statement = conn.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(&condition.params), |row| {
                Ok(Judged {
                    principle: row.get(0)?,
                    violated: row.get(1)?,
                    probability: row.get(2)?,
                    source: read::name(row, 3)?,
                    agreed: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// What the history of a chain's labels amounts to.
    pub fn current_label(&self, chain: &ChainId) -> Result<CurrentLabel, StoreError> {
        let found = self.snapshot(|conn| {
            let row = conn
                .prepare_cached("SELECT label, chosen, note FROM v_chains WHERE chain_id = ?1")?
                .query_row([&chain.0], |row| {
                    Ok(CurrentLabel {
                        label: read::maybe_name(row, 0)?,
                        chosen: row.get(1)?,
                        note: row.get(2)?,
                        agreements: Vec::new(),
                    })
                })
                .optional()?;
            let Some(current) = row else { return Ok(None) };
            let mut statement = conn.prepare_cached(
                "SELECT s.ordinal, s.principle, v.agreed FROM chains c JOIN steps s ON s.chain = c.id
                 JOIN verdicts v ON v.step = s.id
                 WHERE c.chain_id = ?1 AND v.agreed IS NOT NULL ORDER BY s.ordinal",
            )?;
            let agreements = statement.query_map([&chain.0], |row| {
                Ok(Agreement {
                    step: row.get(0)?,
                    principle_id: row.get(1)?,
                    agreed: row.get(2)?,
                })
            })?;
            Ok(Some(CurrentLabel {
                agreements: agreements.collect::<rusqlite::Result<_>>()?,
                ..current
            }))
        })?;
        found.ok_or_else(|| self.unknown("chain", &chain.0, "; `amend ls` lists them"))
    }
}

pub(super) fn chain_key(
    conn: &Connection,
    chain: &ChainId,
) -> rusqlite::Result<Option<(i64, bool)>> {
    conn.prepare_cached("SELECT id, status = 'running' FROM chains WHERE chain_id = ?1")?
        .query_row([&chain.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

const ENTRY: &str =
    "SELECT chain_id, ordinal, at, who, action, step, principle_id, text, undoes, standing
     FROM v_labels WHERE chain_id = (SELECT chain_id FROM chains WHERE id = ?1)";

pub(super) fn entries(conn: &Connection, chain: i64) -> rusqlite::Result<Vec<LabelEntry>> {
    let mut statement = conn.prepare_cached(&format!("{ENTRY} ORDER BY ordinal"))?;
    let rows = statement.query_map([chain], entry)?;
    rows.collect()
}

pub(super) fn last_entry(conn: &Connection, chain: i64) -> rusqlite::Result<LabelEntry> {
    conn.prepare_cached(&format!("{ENTRY} ORDER BY ordinal DESC LIMIT 1"))?
        .query_row([chain], entry)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<LabelEntry> {
    Ok(LabelEntry {
        chain_id: row.get(0)?,
        ordinal: row.get(1)?,
        at: row.get(2)?,
        who: row.get(3)?,
        action: read::name(row, 4)?,
        step: row.get(5)?,
        principle_id: row.get(6)?,
        text: row.get(7)?,
        undoes: row.get(8)?,
        standing: row.get(9)?,
    })
}

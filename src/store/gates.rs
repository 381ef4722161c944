//! What gates decided about chains: keeping it, and reading it back.
//!
//! A chain has the decisions of the gating that looked at it last.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::Value;

use super::content::json;
use super::open::FEW_PAGES;
use super::writer::timestamp;
use super::{Store, StoreError, Writer, read};
use crate::chain::ChainId;
use crate::digest::canonical;

/// The names of gates, as filters take them.
pub const GATES: [&str; 15] = [
    "control",
    "equal-texts",
    "draft-preferred",
    "judge-tie",
    "judge-disagrees",
    "flags",
    "refusal",
    "length-ratio",
    "tokens",
    "personal-data",
    "secrets",
    "language",
    "duplicate",
    "near-duplicate",
    "collapse",
];

/// A gating: one look at a set of chains.
#[derive(Clone, Debug, PartialEq)]
pub struct NewGating {
    /// The filter that chose the chains, as it was written.
    pub filter: String,
    /// The run that they were taken from, by its whole id; `None` for all.
    pub run: Option<String>,
    /// Every gate with its threshold.
    pub settings: Value,
    /// What was counted and measured.
    pub figures: Value,
}

/// What becomes of one chain that a gating has looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum GateRecord {
    /// It was decided about.
    Decided(GatedChain),
    /// It has no text to decide about. Its id.
    Without(String),
}

/// What one gating decided about one chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GatedChain {
    /// The chain.
    pub chain_id: String,
    /// Whether its chosen text may be learned from.
    pub kept: bool,
    /// Whether its pair may be learned from.
    pub pair: bool,
    /// Where the chosen text comes from: `draft`, `revision:ORDINAL` or `person`.
    pub chosen: String,
    /// Where the rejected text comes from; `None` where there is no other text.
    pub rejected: Option<String>,
    /// Why one is preferred to the other.
    pub why: String,
    /// The probability that the chosen text is the better one.
    pub p: Option<f64>,
    /// By how much the judge prefers it, −1 to 1.
    pub margin: Option<f64>,
    /// Share of words that differ, 0 to 1.
    pub edit_distance: f64,
    /// Characters of the chosen text over those of the rejected one.
    pub length_ratio: Option<f64>,
    /// What gates said, in their order.
    pub findings: Vec<GateFinding>,
}

/// What one gate said about a chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateFinding {
    /// The gate.
    pub gate: String,
    /// What it did: `drop`, `flip` or `replace`.
    pub action: String,
    /// Whether only the pair is concerned.
    pub pair_only: bool,
    /// Why, in words.
    pub reason: String,
    /// What was measured.
    pub value: Option<f64>,
}

impl Writer {
    /// Records what gates decided, in place of what was decided about the same chains before. Chains that have no
    /// text any more, such as one that was rejected since, keep no decision. Durable at once. Records come one at a
    /// time; where one cannot be had, nothing is recorded.
    pub fn record_gating(
        &mut self,
        gating: &NewGating,
        records: impl IntoIterator<Item = Result<GateRecord, StoreError>>,
    ) -> Result<(), StoreError> {
        let mut failed = None;
        let written = self.write(|conn, _| {
            // They come in the order in which they lie there.
            conn.pragma_update(None, "cache_size", FEW_PAGES)?;
            let id = insert_gating(conn, gating)?;
            for record in records {
                match record {
                    Ok(GateRecord::Decided(chain)) => insert_chain(conn, id, &chain)?,
                    Ok(GateRecord::Without(chain_id)) => {
                        if let Some(key) = key(conn, &chain_id)? {
                            forget_chain(conn, key)?;
                        }
                    }
                    Err(error) => {
                        failed = Some(error);
                        return Err(rusqlite::Error::QueryReturnedNoRows);
                    }
                }
            }
            // A gating of which nothing holds any more says nothing.
            conn.execute(
                "DELETE FROM gatings WHERE id <> ?1
                 AND NOT EXISTS (SELECT 1 FROM gated_chains WHERE gating = gatings.id)",
                [id],
            )
        });
        match failed {
            Some(error) => Err(error),
            None => written.and_then(|_| self.flush()),
        }
    }
}

fn insert_gating(conn: &Connection, gating: &NewGating) -> rusqlite::Result<i64> {
    conn.execute(
        "INSERT INTO gatings (created_at, filter, run, settings, figures) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            timestamp(),
            gating.filter,
            gating.run,
            canonical(&gating.settings),
            json(&gating.figures),
        ],
    )?;
    Ok(conn.last_insert_rowid())
}

fn key(conn: &Connection, chain_id: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM chains WHERE chain_id = ?1")?
        .query_row([chain_id], |row| row.get(0))
        .optional()
}

/// Removes what was decided about a chain.
fn forget_chain(conn: &Connection, key: i64) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM gate_findings WHERE chain = ?1",
        "DELETE FROM gated_chains WHERE chain = ?1",
    ] {
        conn.prepare_cached(sql)?.execute([key])?;
    }
    Ok(())
}

fn insert_chain(conn: &Connection, gating: i64, chain: &GatedChain) -> rusqlite::Result<()> {
    // A chain that is gone has nothing to keep.
    let Some(key) = key(conn, &chain.chain_id)? else {
        return Ok(());
    };
    forget_chain(conn, key)?;
    conn.prepare_cached(
        "INSERT INTO gated_chains (chain, gating, kept, pair, chosen, rejected, why, p, margin,
             edit_distance, length_ratio) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        key,
        gating,
        chain.kept,
        chain.pair,
        chain.chosen,
        chain.rejected,
        chain.why,
        chain.p,
        chain.margin,
        chain.edit_distance,
        chain.length_ratio,
    ])?;
    for (ordinal, finding) in chain.findings.iter().enumerate() {
        conn.prepare_cached(
            "INSERT INTO gate_findings (chain, ordinal, gate, action, pair_only, reason, value)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            key,
            ordinal as i64,
            finding.gate,
            finding.action,
            finding.pair_only,
            finding.reason,
            finding.value,
        ])?;
    }
    Ok(())
}

impl Store {
    /// What gates decided about a chain; `None` for one that no gating has looked at.
    pub fn gates_of(&self, chain: &ChainId) -> Result<Option<GatedChain>, StoreError> {
        self.snapshot(|conn| {
            let found = conn
                .prepare_cached(
                    "SELECT chain_id, kept, pair, chosen, rejected, why, p, margin, edit_distance,
                         length_ratio FROM v_pairs WHERE chain_id = ?1",
                )?
                .query_row([&chain.0], gated)
                .optional()?;
            let Some(mut found) = found else {
                return Ok(None);
            };
            found.findings = conn
                .prepare_cached(
                    "SELECT gate, action, pair_only, reason, value FROM v_gates WHERE chain_id = ?1
                     ORDER BY ordinal",
                )?
                .query_map([&chain.0], finding)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(found))
        })
    }

    /// What the last gating counted and measured; `None` where there was none.
    pub fn last_gating(&self) -> Result<Option<Value>, StoreError> {
        self.read(|conn| {
            conn.prepare_cached("SELECT figures FROM gatings ORDER BY id DESC LIMIT 1")?
                .query_row([], |row| read::json(row, 0))
                .optional()
        })
    }
}

fn gated(row: &Row<'_>) -> rusqlite::Result<GatedChain> {
    Ok(GatedChain {
        chain_id: row.get(0)?,
        kept: row.get(1)?,
        pair: row.get(2)?,
        chosen: row.get(3)?,
        rejected: row.get(4)?,
        why: row.get(5)?,
        p: row.get(6)?,
        margin: row.get(7)?,
        edit_distance: row.get(8)?,
        length_ratio: row.get(9)?,
        findings: Vec::new(),
    })
}

fn finding(row: &Row<'_>) -> rusqlite::Result<GateFinding> {
    Ok(GateFinding {
        gate: row.get(0)?,
        action: row.get(1)?,
        pair_only: row.get(2)?,
        reason: row.get(3)?,
        value: row.get(4)?,
    })
}

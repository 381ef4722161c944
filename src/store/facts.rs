//! What filters ask of a chain beyond its row, its steps and its labels, for readers without SQL.

use rusqlite::{Connection, Row};
use serde::Serialize;

use super::{Store, StoreError};
use crate::chain::ChainId;

/// The rows of the views `v_filter_judgements`, `v_filter_gated` and `v_filter_gates` about one chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChainFacts {
    /// Judgements of pairs of its texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub judgements: Vec<JudgementFact>,
    /// What gates decided about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gated: Vec<GatedFact>,
    /// Gates that had something to say about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<String>,
}

/// A judgement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgementFact {
    /// Whether it says the same in both orders.
    pub agree: bool,
    /// P that the later text is the better one.
    pub preference: f64,
    /// P(later) - P(earlier).
    pub margin: f64,
}

/// A decision of gates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GatedFact {
    /// Whether they kept its text.
    pub kept: bool,
    /// Whether they kept its pair.
    pub pair: bool,
}

impl Store {
    /// Facts about a chain; none where there is no such chain.
    pub fn facts(&self, id: &ChainId) -> Result<ChainFacts, StoreError> {
        self.read(|conn| {
            Ok(ChainFacts {
                judgements: rows(conn, "agree, p, margin", "v_filter_judgements", id, |row| {
                    Ok(JudgementFact {
                        agree: row.get(0)?,
                        preference: row.get(1)?,
                        margin: row.get(2)?,
                    })
                })?,
                gated: rows(conn, "kept, pair", "v_filter_gated", id, |row| {
                    Ok(GatedFact {
                        kept: row.get(0)?,
                        pair: row.get(1)?,
                    })
                })?,
                gates: rows(conn, "DISTINCT gate", "v_filter_gates", id, |row| {
                    row.get(0)
                })?,
            })
        })
    }
}

fn rows<T>(
    conn: &Connection,
    columns: &str,
    view: &str,
    id: &ChainId,
    map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let sql = format!(
        "SELECT {columns} FROM {view} WHERE chain = (SELECT id FROM chains WHERE chain_id = ?1)
         ORDER BY 1"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    statement.query_map([&id.0], map)?.collect()
}

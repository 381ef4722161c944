//! Adding to the history.

use std::path::{Path, PathBuf};

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, params_from_iter};

use super::history::{chain_key, entries, last_entry};
use super::{BulkAction, LabelAction, LabelEntry, LabelKind, checked_name};
use crate::chain::ChainId;
use crate::store::content::{self, Known};
use crate::store::filter_sql::{self, FROM};
use crate::store::writer::timestamp;
use crate::store::{Filter, StoreError, open, read};

/// A store that is open for labelling, and for nothing else.
pub struct Labels {
    conn: Connection,
    path: PathBuf,
}

impl Labels {
    /// Opens an existing store. Never makes a file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            conn: open::for_labelling(path)?,
            path: path.to_owned(),
        })
    }

    /// Adds to the history of a chain, and gives back the entry.
    ///
    /// # Errors
    ///
    /// [`StoreError::Label`] for a blank text or name, for a step without a verdict, and for accepting,
    /// rejecting or editing a chain that still runs.
    pub fn label(
        &mut self,
        chain: &ChainId,
        who: &str,
        action: &LabelAction,
    ) -> Result<LabelEntry, StoreError> {
        let who = checked_name(who)?;
        action.check()?;
        let outcome = self.write(|conn| {
            let Some((key, running)) = chain_key(conn, chain)? else {
                return Ok(Err(Refused::NoChain));
            };
            if running && action.needs_end() {
                return Ok(Err(Refused::Running));
            }
            let step = match action.step() {
                None => None,
                Some(ordinal) => match verdict_step(conn, key, ordinal)? {
                    Some(step) => Some(step),
                    None => return Ok(Err(Refused::NoVerdict(ordinal))),
                },
            };
            let text = action.text();
            let text = text.map(|text| content::text(conn, &mut Known::default(), text));
            insert(conn, key, who, action.kind(), step, text.transpose()?, None)?;
            last_entry(conn, key).map(Ok)
        })?;
        outcome.map_err(|refused| self.refused(chain, refused))
    }

    /// Takes back the last entry that stands, and gives back what it was; `None` where nothing stands.
    pub fn undo(&mut self, chain: &ChainId, who: &str) -> Result<Option<LabelEntry>, StoreError> {
        let who = checked_name(who)?;
        let outcome = self.write(|conn| {
            let Some((key, _)) = chain_key(conn, chain)? else {
                return Ok(Err(Refused::NoChain));
            };
            let last: Option<(i64, u32)> = conn
                .prepare_cached(
                    "SELECT id, ordinal FROM standing_labels WHERE chain = ?1
                     ORDER BY ordinal DESC LIMIT 1",
                )?
                .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((id, ordinal)) = last else {
                return Ok(Ok(None));
            };
            insert(conn, key, who, LabelKind::Undo, None, None, Some(id))?;
            let entry = entries(conn, key)?
                .into_iter()
                .find(|e| e.ordinal == ordinal);
            Ok(Ok(entry))
        })?;
        outcome.map_err(|refused| self.refused(chain, refused))
    }

    /// How many chains [`label_all`](Self::label_all) would label: those that match, without those that
    /// still run where the action speaks of the final text.
    pub fn count(
        &self,
        filter: &Filter,
        run: Option<&str>,
        action: &BulkAction,
    ) -> Result<u64, StoreError> {
        let condition = bulk_condition(filter, run, action);
        let sql = format!("SELECT count(*) FROM {FROM} WHERE {}", condition.sql);
        self.conn
            .prepare(&sql)
            .and_then(|mut statement| {
                statement.query_row(params_from_iter(&condition.params), |row| {
                    read::count(row, 0)
                })
            })
            .map_err(|error| StoreError::sqlite(&self.path, error))
    }

    /// Adds an entry to the history of every matching chain, in one transaction, and gives back how many
    /// there were. `run` is a whole run id; `expected` is the number that the person was told: where
    /// another number matches by now, nothing is labelled.
    pub fn label_all(
        &mut self,
        filter: &Filter,
        run: Option<&str>,
        who: &str,
        action: &BulkAction,
        expected: Option<u64>,
    ) -> Result<u64, StoreError> {
        let who = checked_name(who)?;
        if let BulkAction::Note(text) = action {
            LabelAction::Note(text.clone()).check()?;
        }
        let condition = bulk_condition(filter, run, action);
        let outcome = self.write(|conn| {
            let written = insert_all(conn, &condition, who, action)?;
            match expected {
                Some(expected) if expected != written => Ok(Err((expected, written))),
                _ => Ok(Ok(written)),
            }
        })?;
        outcome.map_err(|(expected, found)| {
            StoreError::Label(format!(
                "{found} chains match by now and not {expected}; nothing was labelled, try again"
            ))
        })
    }

    /// One transaction; it is undone when `write` fails or refuses.
    fn write<T, R>(
        &mut self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, R>>,
    ) -> Result<Result<T, R>, StoreError> {
        let path = &self.path;
        let run = || {
            let transaction = self
                .conn
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcome = write(&transaction)?;
            match outcome {
                Ok(_) => transaction.commit()?,
                Err(_) => transaction.rollback()?,
            }
            Ok(outcome)
        };
        run().map_err(|error| StoreError::sqlite(path, error))
    }

    fn refused(&self, chain: &ChainId, refused: Refused) -> StoreError {
        let id = &chain.0;
        match refused {
            Refused::NoChain => StoreError::Unknown {
                what: "chain",
                id: id.clone(),
                path: self.path.clone(),
                hint: "; `amend ls` lists them".to_owned(),
            },
            Refused::Running => StoreError::Label(format!(
                "chain {id} still runs and has no final text; label it when it has ended"
            )),
            Refused::NoVerdict(step) => StoreError::Label(format!(
                "step {step} of chain {id} has no verdict to agree with; `amend show {id}` lists its steps"
            )),
        }
    }
}

enum Refused {
    NoChain,
    Running,
    NoVerdict(u32),
}

fn verdict_step(conn: &Connection, chain: i64, ordinal: u32) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(
        "SELECT s.id FROM steps s JOIN verdicts v ON v.step = s.id
         WHERE s.chain = ?1 AND s.ordinal = ?2",
    )?
    .query_row([chain, i64::from(ordinal)], |row| row.get(0))
    .optional()
}

const NEXT_ORDINAL: &str =
    "(SELECT ifnull(max(h.ordinal), 0) + 1 FROM label_entries h WHERE h.chain = ";

fn insert(
    conn: &Connection,
    chain: i64,
    who: &str,
    action: LabelKind,
    step: Option<i64>,
    text: Option<i64>,
    undoes: Option<i64>,
) -> rusqlite::Result<()> {
    conn.prepare_cached(&format!(
        "INSERT INTO label_entries (chain, ordinal, at, who, action, step, text, undoes)
         VALUES (?1, {NEXT_ORDINAL} ?1), ?2, ?3, ?4, ?5, ?6, ?7)"
    ))?
    .execute(params![
        chain,
        timestamp(),
        who,
        action.as_str(),
        step,
        text,
        undoes
    ])?;
    Ok(())
}

/// The condition on the chains that a bulk action is about.
fn bulk_condition(
    filter: &Filter,
    run: Option<&str>,
    action: &BulkAction,
) -> filter_sql::Condition {
    let mut condition = filter_sql::condition(filter, run);
    match action {
        BulkAction::Accept | BulkAction::Reject => {
            condition.sql.push_str(" AND c.status <> 'running'");
        }
        BulkAction::Undo => condition
            .sql
            .push_str(" AND EXISTS (SELECT 1 FROM standing_labels l WHERE l.chain = c.id)"),
        BulkAction::Note(_) => {}
    }
    condition
}

fn insert_all(
    conn: &Connection,
    condition: &filter_sql::Condition,
    who: &str,
    action: &BulkAction,
) -> rusqlite::Result<u64> {
    let text = match action {
        BulkAction::Note(text) => Some(content::text(conn, &mut Known::default(), text)?),
        _ => None,
    };
    let undoes = match action {
        BulkAction::Undo => {
            "(SELECT l.id FROM standing_labels l WHERE l.chain = c.id
             ORDER BY l.ordinal DESC LIMIT 1)"
        }
        _ => "NULL",
    };
    let mut params = condition.params.clone();
    let mut param = |value: SqlValue| {
        params.push(value);
        format!("?{}", params.len())
    };
    let sql = format!(
        "INSERT INTO label_entries (chain, ordinal, at, who, action, text, undoes)
         SELECT c.id, {NEXT_ORDINAL} c.id), {}, {}, {}, {}, {undoes}
         FROM {FROM} WHERE {}",
        param(timestamp().into()),
        param(who.to_owned().into()),
        param(action.kind().as_str().to_owned().into()),
        param(text.into()),
        condition.sql,
    );
    let written = conn.prepare(&sql)?.execute(params_from_iter(&params))?;
    Ok(written as u64)
}

//! Figures per principle and per run, over the chains that a filter selects.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Row, params_from_iter};

use super::filter_sql::{self, FROM};
use super::rows::{NameCount, PrincipleStats, RunStats};
use super::{Filter, read};

/// The matching chains as the table `sel (id)`, to be put before a `SELECT`.
struct Selection {
    with: String,
    params: Vec<SqlValue>,
}

impl Selection {
    fn new(filter: &Filter, run: Option<&str>) -> Self {
        let condition = filter_sql::condition(filter, run);
        Self {
            with: format!(
                "WITH sel (id) AS MATERIALIZED (SELECT c.id FROM {FROM} WHERE {})",
                condition.sql
            ),
            params: condition.params,
        }
    }

    fn rows<T>(
        &self,
        conn: &Connection,
        select: &str,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = conn.prepare(&format!("{} {select}", self.with))?;
        statement
            .query_map(params_from_iter(&self.params), map)?
            .collect()
    }

    fn row<T>(
        &self,
        conn: &Connection,
        select: &str,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        conn.prepare(&format!("{} {select}", self.with))?
            .query_row(params_from_iter(&self.params), map)
    }

    fn counts(&self, conn: &Connection, select: &str) -> rusqlite::Result<Vec<NameCount>> {
        self.rows(conn, select, |row| {
            Ok(NameCount {
                name: row.get(0)?,
                count: read::count(row, 1)?,
            })
        })
    }
}

/// Figures per principle, by principle id.
pub(super) fn principles(
    conn: &Connection,
    filter: &Filter,
    run: Option<&str>,
) -> rusqlite::Result<Vec<PrincipleStats>> {
    Selection::new(filter, run).rows(
        conn,
        "SELECT s.principle,
             count(*) FILTER (WHERE s.kind = 'critique'),
             count(*) FILTER (WHERE s.kind = 'critique' AND v.violated),
             count(*) FILTER (WHERE s.kind = 'revision' AND s.adopted),
             avg(v.probability) FILTER (WHERE s.kind = 'critique'),
             count(*) FILTER (WHERE s.kind = 'critique' AND v.violated AND v.source = 'model'
                 AND NOT v.quote_verified),
             count(*) FILTER (WHERE s.kind = 'recheck'),
             count(*) FILTER (WHERE s.kind = 'recheck' AND v.violated)
         FROM sel JOIN steps s ON s.chain = sel.id LEFT JOIN verdicts v ON v.step = s.id
         WHERE s.principle IS NOT NULL GROUP BY s.principle ORDER BY s.principle",
        |row| {
            Ok(PrincipleStats {
                principle_id: row.get(0)?,
                asked: read::count(row, 1)?,
                violated: read::count(row, 2)?,
                revised: read::count(row, 3)?,
                mean_probability: row.get(4)?,
                unverified_quotes: read::count(row, 5)?,
                rechecked: read::count(row, 6)?,
                regressed: read::count(row, 7)?,
            })
        },
    )
}

/// Figures of one run.
pub(super) fn run(conn: &Connection, filter: &Filter, run_id: &str) -> rusqlite::Result<RunStats> {
    let sel = Selection::new(filter, Some(run_id));
    let active_seconds: f64 = conn.query_row(
        "SELECT active_seconds FROM runs WHERE run_id = ?1",
        [run_id],
        |row| row.get(0),
    )?;
    let (chains, revised, mean_changed, regressed, steps) = sel.row(
        conn,
        "SELECT count(*), count(*) FILTER (WHERE c.revised), avg(c.changed) FILTER (WHERE c.revised),
             count(*) FILTER (WHERE c.regressed <> '[]'), ifnull(sum(c.steps), 0)
         FROM sel JOIN chains c ON c.id = sel.id",
        |row| {
            let count = |column| read::count(row, column);
            Ok((count(0)?, count(1)?, row.get(2)?, count(3)?, count(4)?))
        },
    )?;
    let calls = calls(conn, &sel)?;
    let each = calls.duration_ms / 1000.0;
    Ok(RunStats {
        run_id: run_id.to_owned(),
        chains,
        statuses: sel.counts(
            conn,
            "SELECT c.status, count(*) FROM sel JOIN chains c ON c.id = sel.id
             GROUP BY c.status ORDER BY c.status",
        )?,
        stop_reasons: sel.counts(
            conn,
            "SELECT c.stop_reason, count(*) FROM sel JOIN chains c ON c.id = sel.id
             WHERE c.stop_reason IS NOT NULL GROUP BY c.stop_reason ORDER BY c.stop_reason",
        )?,
        revised,
        mean_changed,
        regressed,
        steps,
        flags: sel.counts(
            conn,
            "SELECT f.flag, count(*) FROM sel JOIN steps s ON s.chain = sel.id
             JOIN step_flags f ON f.step = s.id GROUP BY f.flag ORDER BY count(*) DESC, f.flag",
        )?,
        calls: calls.made,
        reused_calls: calls.reused,
        prompt_tokens: calls.prompt,
        cached_tokens: calls.cached,
        completion_tokens: calls.completion,
        proposed_tokens: calls.proposed,
        accepted_tokens: calls.accepted,
        cached_share: (calls.prompt > 0).then(|| calls.cached as f64 / calls.prompt as f64),
        active_seconds,
        tokens_per_second: (filter.is_all() && active_seconds > 0.0)
            .then(|| calls.completion as f64 / active_seconds),
        tokens_per_second_each: (each > 0.0).then(|| calls.completion as f64 / each),
    })
}

struct Calls {
    made: u64,
    reused: u64,
    prompt: u64,
    cached: u64,
    completion: u64,
    proposed: u64,
    accepted: u64,
    duration_ms: f64,
}

/// What the model calls of the selected chains cost; those answered from the store cost nothing.
fn calls(conn: &Connection, sel: &Selection) -> rusqlite::Result<Calls> {
    sel.row(
        conn,
        "SELECT count(*) FILTER (WHERE NOT k.reused), count(*) FILTER (WHERE k.reused),
             ifnull(sum(g.prompt_tokens) FILTER (WHERE NOT k.reused), 0),
             ifnull(sum(g.cached_tokens) FILTER (WHERE NOT k.reused), 0),
             ifnull(sum(g.completion_tokens) FILTER (WHERE NOT k.reused), 0),
             total(g.duration_ms) FILTER (WHERE NOT k.reused),
             ifnull(sum(g.proposed_tokens) FILTER (WHERE NOT k.reused), 0),
             ifnull(sum(g.accepted_tokens) FILTER (WHERE NOT k.reused), 0)
         FROM sel JOIN steps s ON s.chain = sel.id JOIN step_calls k ON k.step = s.id
         JOIN generations g ON g.id = k.generation",
        |row| {
            Ok(Calls {
                made: read::count(row, 0)?,
                reused: read::count(row, 1)?,
                prompt: read::count(row, 2)?,
                cached: read::count(row, 3)?,
                completion: read::count(row, 4)?,
                duration_ms: row.get(5)?,
                proposed: read::count(row, 6)?,
                accepted: read::count(row, 7)?,
            })
        },
    )
}

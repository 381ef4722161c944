//! Which chains a filter selects, as a set.
//!
//! A set is found the same chains as by [`filter_sql`], which makes one statement of a filter. Here every text is
//! searched for by itself, and the chains that hold it come from the overview: many texts match a common word,
//! and SQLite would look up the chains of each. Steps of which terms are true are looked up by themselves as well
//! where nothing else is asked: most steps may be such, and SQLite would first put them all in order.

use rusqlite::Connection;

use super::chain_set::ChainSet;
use super::filter::{Expr, Filter, Value};
use super::filter_sql;
use super::overview::Seen;

impl Seen<'_> {
    /// The chains that match. `run` is a whole id.
    pub fn matching(
        &self,
        conn: &Connection,
        filter: &Filter,
        run: Option<&str>,
    ) -> rusqlite::Result<ChainSet> {
        match filter.expr() {
            None if run.is_none() => Ok(self.all()),
            Some(expr) if run.is_none() || expr.searches() => {
                let mut found = self.of(conn, expr)?;
                if run.is_some() {
                    let of_run = filter_sql::condition(&Filter::all(), run);
                    found.keep(&self.meeting(conn, &of_run)?);
                }
                Ok(found)
            }
            _ => self.meeting(conn, &filter_sql::condition(filter, run)),
        }
    }

    /// The chains of which a part of a filter is true.
    fn of(&self, conn: &Connection, expr: &Expr) -> rusqlite::Result<ChainSet> {
        if let Some(terms) = expr.steps() {
            let of_steps = filter_sql::of_steps(&terms);
            return self.selected(conn, &of_steps.sql, &of_steps.params);
        }
        let by_itself = |part: &Expr| part.searches() || part.steps().is_some();
        match expr {
            Expr::Not(inside) => {
                let mut found = self.of(conn, inside)?;
                found.turn();
                Ok(found)
            }
            Expr::And(parts) if expr.searches() => {
                self.joined(conn, parts, Expr::searches, Expr::And, ChainSet::keep)
            }
            Expr::Or(parts) if parts.iter().any(by_itself) => {
                self.joined(conn, parts, by_itself, Expr::Or, ChainSet::add)
            }
            Expr::Term(term) if expr.searches() => match &term.value {
                Value::Text(text) => self.holding(conn, &filter_sql::phrase(text)),
                // Nothing else can be searched for.
                _ => Ok(self.none()),
            },
            expr => self.meeting(conn, &filter_sql::of(expr)),
        }
    }

    /// What is found by itself, part by part, and the rest as one condition: terms that stand together in it speak
    /// of the same step.
    fn joined(
        &self,
        conn: &Connection,
        parts: &[Expr],
        by_itself: impl Fn(&Expr) -> bool,
        many: fn(Vec<Expr>) -> Expr,
        join: fn(&mut ChainSet, &ChainSet),
    ) -> rusqlite::Result<ChainSet> {
        let (apart, rest): (Vec<&Expr>, Vec<&Expr>) =
            parts.iter().partition(|part| by_itself(part));
        let mut joined: Option<ChainSet> = None;
        let rest = (!rest.is_empty()).then(|| many(rest.into_iter().cloned().collect()));
        for part in apart.into_iter().chain(&rest) {
            let found = self.of(conn, part)?;
            match &mut joined {
                Some(joined) => join(joined, &found),
                None => joined = Some(found),
            }
        }
        Ok(joined.unwrap_or_else(|| self.none()))
    }
}

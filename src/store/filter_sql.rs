//! A filter as SQL. Values are always parameters, never part of the text.
//!
//! Conditions are written over the tables and not over the views: the views join what a reader wants to
//! see, and a condition on one column should touch no more than that column's index. Every condition is
//! true or false, never NULL, so that `not` means what it says.

use rusqlite::types::Value as SqlValue;

use super::filter::{Expr, Filter, Op, Term, Value};
use super::filter_key::Key;

/// A condition on chains, with its parameters in order.
pub(super) struct Condition {
    /// For a `WHERE` over [`FROM`].
    pub sql: String,
    /// Bound to `?1`, `?2`, ….
    pub params: Vec<SqlValue>,
}

/// The tables that a [`Condition`] may speak of: `c` chains, `r` runs, `p` prompts.
pub(super) const FROM: &str =
    "chains c JOIN runs r ON r.id = c.run JOIN prompts p ON p.id = c.prompt";

/// The condition that a filter, and where given a run, put on a chain.
pub(super) fn condition(filter: &Filter, run: Option<&str>) -> Condition {
    let mut build = Builder { params: Vec::new() };
    let mut parts = Vec::new();
    if let Some(run) = run {
        let param = build.param(SqlValue::Text(run.to_owned()));
        parts.push(format!("r.run_id = {param}"));
    }
    if let Some(expr) = filter.expr() {
        parts.push(build.expr(expr));
    }
    let sql = if parts.is_empty() {
        "1".to_owned()
    } else {
        parts.join(" AND ")
    };
    Condition {
        sql,
        params: build.params,
    }
}

struct Builder {
    params: Vec<SqlValue>,
}

impl Builder {
    fn param(&mut self, value: SqlValue) -> String {
        self.params.push(value);
        format!("?{}", self.params.len())
    }

    fn expr(&mut self, expr: &Expr) -> String {
        match expr {
            Expr::And(parts) => self.and(parts),
            Expr::Or(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| self.expr(part)).collect();
                format!("({})", parts.join(" OR "))
            }
            Expr::Not(inside) => format!("NOT {}", self.expr(inside)),
            Expr::Term(_) => self.and(std::slice::from_ref(expr)),
        }
    }

    /// Terms of steps that stand together are one subquery: they speak of the same step. So do terms of
    /// judgements.
    fn and(&mut self, parts: &[Expr]) -> String {
        let mut conditions = Vec::new();
        let mut of_step = Vec::new();
        let mut of_judgement = Vec::new();
        for part in parts {
            match part {
                Expr::Term(term) if term.key.is_of_step() => of_step.push(self.step(term)),
                Expr::Term(term) if term.key.is_of_judgement() => {
                    of_judgement.push(self.judgement(term));
                }
                Expr::Term(term) => conditions.push(self.chain(term)),
                other => conditions.push(self.expr(other)),
            }
        }
        if !of_step.is_empty() {
            conditions.push(format!(
                "c.id IN (SELECT s.chain FROM steps s LEFT JOIN verdicts v ON v.step = s.id WHERE {})",
                of_step.join(" AND ")
            ));
        }
        if !of_judgement.is_empty() {
            conditions.push(format!(
                "c.id IN (SELECT j.chain FROM judgements j WHERE {})",
                of_judgement.join(" AND ")
            ));
        }
        format!("({})", conditions.join(" AND "))
    }

    /// A condition on a judgement `j`, whose columns are never NULL.
    fn judgement(&mut self, term: &Term) -> String {
        let column = match term.key {
            Key::Agree => "j.agree",
            Key::Preference => "j.p",
            // The only other key of a judgement.
            _ => "j.margin",
        };
        self.compare(column, term)
    }

    /// A condition on a step `s` and its verdict `v`; inside a subquery, where NULL is false.
    fn step(&mut self, term: &Term) -> String {
        let column = match term.key {
            Key::Principle => "s.principle",
            Key::Kind => "s.kind",
            Key::Violated => "v.violated",
            Key::P => "v.probability",
            Key::Severity => "v.severity",
            // The only other key of a step.
            _ => "v.source",
        };
        self.compare(column, term)
    }

    fn chain(&mut self, term: &Term) -> String {
        let column = match term.key {
            Key::Text => return self.text(term),
            Key::Flag => return self.flag(term),
            Key::Gate => return self.gate(term),
            Key::Kept => return self.gated("kept", term),
            Key::Pair => return self.gated("pair", term),
            Key::Run => return self.prefix("r.run_id", term),
            Key::Chain => return self.prefix("c.chain_id", term),
            Key::Status => "c.status",
            Key::Stop => "ifnull(c.stop_reason, '')",
            Key::Revised => "c.revised",
            Key::Regressed => "(c.regressed <> '[]')",
            Key::Rounds => "c.rounds",
            Key::Tokens => "c.tokens",
            Key::Sample => "c.sample",
            Key::Prompt => "p.prompt_id",
            Key::Judged => "(EXISTS (SELECT 1 FROM judgements j WHERE j.chain = c.id))",
            Key::Changed => return self.maybe("c.changed", term),
            // Keys of steps do not come here.
            _ => return self.maybe("c.length_ratio", term),
        };
        self.compare(column, term)
    }

    fn compare(&mut self, column: &str, term: &Term) -> String {
        let op = match term.op {
            Op::Eq => "=",
            Op::Ne => "<>",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
        };
        let param = self.param(sql_value(&term.value));
        format!("{column} {op} {param}")
    }

    /// A comparison with a column that may be NULL: then it is false.
    fn maybe(&mut self, column: &str, term: &Term) -> String {
        format!("ifnull({}, 0)", self.compare(column, term))
    }

    fn prefix(&mut self, column: &str, term: &Term) -> String {
        let param = self.param(sql_value(&term.value));
        let not = negation(term);
        format!("{not}(substr({column}, 1, length({param})) = {param})")
    }

    fn flag(&mut self, term: &Term) -> String {
        let param = self.param(sql_value(&term.value));
        let not = negation(term);
        format!(
            "c.id {not}IN (SELECT s.chain FROM step_flags f JOIN steps s ON s.id = f.step WHERE f.flag = {param})"
        )
    }

    fn gate(&mut self, term: &Term) -> String {
        let param = self.param(sql_value(&term.value));
        let not = negation(term);
        format!("c.id {not}IN (SELECT chain FROM gate_findings WHERE gate = {param})")
    }

    /// What gates decided: false for a chain that none looked at.
    fn gated(&mut self, column: &str, term: &Term) -> String {
        let condition = self.compare(column, term);
        format!("c.id IN (SELECT chain FROM gated_chains WHERE {condition})")
    }

    fn text(&mut self, term: &Term) -> String {
        let phrase = match &term.value {
            Value::Text(text) => phrase(text),
            _ => String::new(),
        };
        let param = self.param(SqlValue::Text(phrase));
        format!(
            "c.id IN (
                 SELECT s.chain FROM search JOIN steps s ON s.output = search.rowid
                 WHERE search MATCH {param}
                 UNION ALL
                 SELECT k.id FROM search JOIN prompts q ON q.text = search.rowid
                 JOIN chains k ON k.prompt = q.id WHERE search MATCH {param})"
        )
    }
}

fn negation(term: &Term) -> &'static str {
    if term.op == Op::Ne { "NOT " } else { "" }
}

fn sql_value(value: &Value) -> SqlValue {
    match value {
        Value::Bool(value) => SqlValue::Integer(i64::from(*value)),
        Value::Whole(value) => SqlValue::Integer(*value),
        Value::Real(value) => SqlValue::Real(*value),
        Value::Text(value) => SqlValue::Text(value.clone()),
    }
}

/// A text as one quoted phrase of the full-text search, in which nothing is an operator.
fn phrase(text: &str) -> String {
    // A NUL would end the expression inside SQLite, and a quotation mark is doubled.
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("\"{}\"", text.replace('"', "\"\""))
}

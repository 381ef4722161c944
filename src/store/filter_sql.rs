//! A filter as SQL. Values are always parameters, never part of the text.
//!
//! Conditions are written over the views `v_filter_…`, which hold what is asked and join nothing: a condition
//! touches no more than an index. Every condition is true or false, never NULL, so that `not` means what it
//! says.

use rusqlite::types::Value as SqlValue;

use super::filter::{Expr, Filter, Op, Term, Value};
use super::filter_key::{HUMAN, Key, NO_LABEL};

/// A condition on chains, with its parameters in order.
pub(super) struct Condition {
    /// For a `WHERE` over [`FROM`] or [`BY_RUN`]; of steps a whole statement.
    pub sql: String,
    /// Bound to `?1`, `?2`, ….
    pub params: Vec<SqlValue>,
}

/// What a [`Condition`] speaks of: `c` chains.
pub(super) const FROM: &str = "v_filter_chains c";

/// The same with the chains' runs, to order by their names.
pub(super) const BY_RUN: &str = "v_filter_chains c JOIN v_filter_runs r ON r.run = c.run";

/// The condition that a filter, and where given a run, put on a chain.
pub(super) fn condition(filter: &Filter, run: Option<&str>) -> Condition {
    let mut build = Builder { params: Vec::new() };
    let mut parts = Vec::new();
    if let Some(run) = run {
        let param = build.param(SqlValue::Text(run.to_owned()));
        parts.push(format!(
            "c.run = (SELECT run FROM v_filter_runs WHERE run_id = {param})"
        ));
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

/// The condition that a part of a filter puts on a chain.
pub(super) fn of(expr: &Expr) -> Condition {
    let mut build = Builder { params: Vec::new() };
    let sql = build.expr(expr);
    Condition {
        sql,
        params: build.params,
    }
}

/// A statement that gives the chain of every step of which terms are true, and NULL for a step that knows none.
pub(super) fn of_steps(terms: &[&Term]) -> Condition {
    let mut build = Builder { params: Vec::new() };
    let sql = build.chains_of_steps(terms);
    Condition {
        sql,
        params: build.params,
    }
}

/// A filter as SQL that any program can run on a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// A statement that gives the ids of the matching chains.
    pub sql: String,
    /// What stands for `?1`, `?2`, … in it, as SQL writes it.
    pub params: Vec<String>,
}

impl Filter {
    /// The SQL that the filter, and where given a run by its whole id, become.
    pub fn explain(&self, run: Option<&str>) -> Explanation {
        let condition = condition(self, run);
        Explanation {
            sql: format!("SELECT c.chain_id FROM {FROM} WHERE {}", condition.sql),
            params: condition.params.iter().map(literal).collect(),
        }
    }
}

fn literal(value: &SqlValue) -> String {
    match value {
        SqlValue::Null | SqlValue::Blob(_) => "NULL".to_owned(),
        SqlValue::Integer(value) => value.to_string(),
        SqlValue::Real(value) => format!("{value:?}"),
        SqlValue::Text(text) => format!("'{}'", text.replace('\'', "''")),
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
                Expr::Term(term) if term.key.is_of_step() => of_step.push(term),
                Expr::Term(term) if term.key.is_of_judgement() => {
                    of_judgement.push(self.judgement(term));
                }
                Expr::Term(term) => conditions.push(self.chain(term)),
                other => conditions.push(self.expr(other)),
            }
        }
        if !of_step.is_empty() {
            conditions.push(self.step(&of_step));
        }
        if !of_judgement.is_empty() {
            conditions.push(format!(
                "c.id IN (SELECT j.chain FROM v_filter_judgements j WHERE {})",
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

    fn step(&mut self, terms: &[&Term]) -> String {
        format!("c.id IN ({})", self.chains_of_steps(terms))
    }

    /// Conditions on one step `s`, as a statement of its own, where NULL is false.
    fn chains_of_steps(&mut self, terms: &[&Term]) -> String {
        let column = |term: &Term| match term.key {
            Key::Principle => "s.principle",
            Key::Kind => "s.kind",
            Key::Violated => "s.violated",
            Key::P => "s.probability",
            Key::Severity => "s.severity",
            // The only other key of a step.
            _ => "s.source",
        };
        // Steps without a verdict match no condition on one.
        let any_step = |term: &&Term| matches!(term.key, Key::Principle | Key::Kind);
        let view = if terms.iter().all(any_step) {
            "v_filter_steps"
        } else {
            "v_filter_verdicts"
        };
        let conditions: Vec<_> = terms
            .iter()
            .map(|term| match term.key {
                Key::Human => self.human(term),
                _ => self.compare(column(term), term),
            })
            .collect();
        let conditions = conditions.join(" AND ");
        format!("SELECT s.chain FROM {view} s WHERE {conditions}")
    }

    /// What a person says of a verdict, kept as whether it is right.
    fn human(&mut self, term: &Term) -> String {
        let right = matches!(&term.value, Value::Text(said) if said == HUMAN[0]);
        self.compare(
            "s.agreed",
            &Term {
                value: Value::Bool(right),
                ..term.clone()
            },
        )
    }

    fn chain(&mut self, term: &Term) -> String {
        let column = match term.key {
            Key::Text => return self.text(term),
            Key::Flag => return self.flag(term),
            Key::Gate => return self.gate(term),
            Key::RevisedIn => return self.revised_in(term),
            Key::Kept => return self.gated("kept", term),
            Key::Pair => return self.gated("pair", term),
            Key::Run => return self.run(term),
            Key::Prompt => return self.prompt(term),
            Key::Label => return self.label(term),
            Key::Chain => return self.prefix("c.chain_id", term),
            Key::Status => "c.status",
            Key::Stop => "ifnull(c.stop_reason, '')",
            Key::Revised => "c.revised",
            Key::Regressed => "c.regressed",
            Key::Rounds => "c.rounds",
            Key::Tokens => "c.tokens",
            Key::Sample => "c.sample",
            Key::Judged => "(EXISTS (SELECT 1 FROM v_filter_judgements j WHERE j.chain = c.id))",
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

    fn run(&mut self, term: &Term) -> String {
        let param = self.param(sql_value(&term.value));
        let not = negation(term);
        format!(
            "c.run {not}IN (SELECT run FROM v_filter_runs WHERE substr(run_id, 1, length({param})) = {param})"
        )
    }

    fn gate(&mut self, term: &Term) -> String {
        let param = self.param(sql_value(&term.value));
        let not = negation(term);
        format!("c.id {not}IN (SELECT chain FROM v_filter_gates WHERE gate = {param})")
    }

    fn revised_in(&mut self, term: &Term) -> String {
        let condition = self.compare("round", term);
        format!("c.id IN (SELECT chain FROM v_filter_revisions WHERE {condition})")
    }

    /// What gates decided: false for a chain that none looked at.
    fn gated(&mut self, column: &str, term: &Term) -> String {
        let condition = self.compare(column, term);
        format!("c.id IN (SELECT chain FROM v_filter_gated WHERE {condition})")
    }

    fn prompt(&mut self, term: &Term) -> String {
        let param = self.param(sql_value(&term.value));
        let not = negation(term);
        format!("c.prompt {not}IN (SELECT prompt FROM v_filter_prompts WHERE prompt_id = {param})")
    }

    fn label(&mut self, term: &Term) -> String {
        let not = if term.op == Op::Ne { " NOT" } else { "" };
        match &term.value {
            Value::Text(name) if name == NO_LABEL => format!("c.label IS{not} NULL"),
            value => {
                let param = self.param(sql_value(value));
                format!("c.label IS{not} {param}")
            }
        }
    }

    fn flag(&mut self, term: &Term) -> String {
        let param = self.param(sql_value(&term.value));
        let not = negation(term);
        format!("c.id {not}IN (SELECT f.chain FROM v_filter_flags f WHERE f.flag = {param})")
    }

    fn text(&mut self, term: &Term) -> String {
        let phrase = match &term.value {
            Value::Text(text) => phrase(text),
            _ => String::new(),
        };
        let param = self.param(SqlValue::Text(phrase));
        format!(
            "c.id IN (
                 SELECT s.chain FROM search JOIN v_filter_steps s ON s.text = search.rowid
                 WHERE search MATCH {param}
                 UNION ALL
                 SELECT k.id FROM search JOIN v_filter_prompts q ON q.text = search.rowid
                 JOIN v_filter_chains k ON k.prompt = q.prompt WHERE search MATCH {param})"
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
pub(super) fn phrase(text: &str) -> String {
    // A NUL would end the expression inside SQLite, and a quotation mark is doubled.
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("\"{}\"", text.replace('"', "\"\""))
}

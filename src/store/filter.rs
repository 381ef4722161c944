//! The filter language: which chains a command is about.
//!
//! ```text
//! filter  = or
//! or      = and { "or" and }
//! and     = unary { ["and"] unary }
//! unary   = "not" unary | "(" or ")" | term
//! term    = key operator value | text
//! operator= ":" | "=" | "!=" | "<" | "<=" | ">" | ">="
//! ```
//!
//! A text is a bare word or a quoted string; it is searched for in prompts, drafts, critiques and
//! revisions. `and` binds tighter than `or`, and may be left out. Quoted strings know `\"` and `\\`.
//!
//! A filter selects *chains*. The keys `principle`, `violated`, `p`, `severity`, `source` and `kind` speak
//! of a step: those that are joined by `and`, directly and not across parentheses or `not`, speak of one
//! and the same step. So `principle:a violated:true` finds chains in which a step about `a` found a
//! violation, and `(principle:a) (violated:true)` those with a step about `a` and a violation anywhere.
//!
//! This file only reads the language; no SQL is made here.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::filter_key::{self, FilterKey, Key, Kind};

/// The longest filter, in bytes.
pub(super) const MAX_LENGTH: usize = 64 * 1024;
/// The deepest nesting of parentheses and `not`.
pub(super) const MAX_DEPTH: usize = 32;
/// The most terms.
pub(super) const MAX_TERMS: usize = 200;

/// Signs that look like operators, as some keyboards and word processors write them, and what each is meant for.
const LOOK_ALIKES: [(char, &str); 9] = [
    ('≥', ">="),
    ('⩾', ">="),
    ('≤', "<="),
    ('⩽', "<="),
    ('≠', "!="),
    ('＞', ">"),
    ('＜', "<"),
    ('＝', "="),
    ('：', ":"),
];

/// What is wrong with an operator that stands alone.
const NO_KEY: &str =
    "an operator without a key before it; write `key:value` without spaces, and quote text";

/// A filter that cannot be read.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("filter, column {column}: {message}")]
pub struct FilterError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// Selects chains.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    source: String,
    pub(super) expr: Option<Expr>,
}

impl Filter {
    /// The filter that every chain matches.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads a filter. An empty text matches every chain.
    pub fn parse(source: &str) -> Result<Self, FilterError> {
        if source.len() > MAX_LENGTH {
            return Err(FilterError {
                column: 1,
                message: format!("the filter is longer than {MAX_LENGTH} bytes"),
            });
        }
        let mut parser = Parser {
            chars: source.chars().collect(),
            at: 0,
            terms: 0,
        };
        parser.skip_space();
        let expr = if parser.peek().is_none() {
            None
        } else {
            Some(parser.or(0)?)
        };
        match parser.peek() {
            None => Ok(Self {
                source: source.trim().to_owned(),
                expr,
            }),
            // `or` reads everything that can begin a term.
            Some(_) => Err(parser.error("`)` without a `(` before it; quote it to search for it")),
        }
    }

    /// The keys of the language.
    pub fn keys() -> Vec<FilterKey> {
        filter_key::keys()
    }

    /// The filter as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether every chain matches, because nothing is asked.
    pub fn is_all(&self) -> bool {
        self.expr.is_none()
    }

    /// What matches both filters. Each speaks of its own steps.
    pub fn and(self, other: Filter) -> Filter {
        match (self.expr, other.expr) {
            (None, None) => Filter::all(),
            (Some(expr), None) => Filter {
                source: self.source,
                expr: Some(expr),
            },
            (None, Some(expr)) => Filter {
                source: other.source,
                expr: Some(expr),
            },
            (Some(a), Some(b)) => Filter {
                source: format!("({}) ({})", self.source, other.source),
                expr: Some(Expr::And(vec![a.group(), b.group()])),
            },
        }
    }

    pub(super) fn expr(&self) -> Option<&Expr> {
        self.expr.as_ref()
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(source: &str) -> Result<Self, FilterError> {
        Self::parse(source)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// What a filter asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    /// All of these. Terms that stand here directly and speak of a step speak of the same one.
    And(Vec<Expr>),
    /// Any of these.
    Or(Vec<Expr>),
    /// Not this.
    Not(Box<Expr>),
    /// One condition.
    Term(Term),
}

impl Expr {
    /// Whether a text is searched for.
    pub(super) fn searches(&self) -> bool {
        match self {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().any(Expr::searches),
            Expr::Not(inside) => inside.searches(),
            Expr::Term(term) => term.key == Key::Text,
        }
    }

    /// Terms of steps with nothing beside them: all of them speak of the same step.
    pub(super) fn steps(&self) -> Option<Vec<&Term>> {
        let parts = match self {
            Expr::And(parts) => parts.as_slice(),
            other => std::slice::from_ref(other),
        };
        let terms = parts.iter().map(|part| match part {
            Expr::Term(term) if term.key.is_of_step() => Some(term),
            _ => None,
        });
        terms.collect()
    }

    /// Keeps a term apart from the terms that it is joined with later.
    fn group(self) -> Expr {
        match self {
            Expr::Term(_) => Expr::And(vec![self]),
            other => other,
        }
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub key: Key,
    pub op: Op,
    pub value: Value,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// What a key is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Whole(i64),
    Real(f64),
    Text(String),
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    terms: usize,
}

impl Parser {
    fn or(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut parts = vec![self.and(depth)?];
        while self.keyword("or") {
            parts.push(self.and(depth)?);
        }
        Ok(one_or(parts, Expr::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut parts = vec![self.unary(depth)?];
        loop {
            if self.keyword("and") {
                parts.push(self.unary(depth)?);
                continue;
            }
            match self.peek() {
                None | Some(')') => break,
                Some(_) if self.sees_keyword("or") => break,
                Some(_) => parts.push(self.unary(depth)?),
            }
        }
        self.one_step(&parts)?;
        Ok(one_or(parts, Expr::And))
    }

    /// A step is about one principle and of one kind, so two of them in one conjunction are a slip.
    fn one_step(&self, parts: &[Expr]) -> Result<(), FilterError> {
        for (key, example) in [(Key::Principle, "principle:a"), (Key::Kind, "kind:draft")] {
            let values = parts.iter().filter_map(|part| match part {
                Expr::Term(term) if term.key == key && term.op == Op::Eq => Some(&term.value),
                _ => None,
            });
            let mut values: Vec<_> = values.collect();
            values.dedup();
            if values.len() > 1 {
                let name = key.name();
                return Err(self.error(format!(
                    "a step has one {name}, and two are asked of it; put each in parentheses, as in ({example}), \
                     to ask for two steps"
                )));
            }
        }
        Ok(())
    }

    fn unary(&mut self, depth: usize) -> Result<Expr, FilterError> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if self.keyword("not") {
            return Ok(Expr::Not(Box::new(self.unary(depth + 1)?)));
        }
        for word in ["and", "or"] {
            if self.sees_keyword(word) {
                return Err(self.error(format!(
                    "`{word}` needs a condition on both sides; quote it to search for it"
                )));
            }
        }
        match self.peek() {
            None => Err(self.error("a condition is missing at the end")),
            Some(')') => Err(self.error("a condition is missing before `)`")),
            Some('(') => {
                let opened = self.at;
                self.at += 1;
                self.skip_space();
                let inside = self.or(depth + 1)?;
                if self.peek() != Some(')') {
                    return Err(self.error_at(opened, "this `(` is never closed"));
                }
                self.at += 1;
                self.skip_space();
                Ok(inside.group())
            }
            Some(_) => self.term().map(Expr::Term),
        }
    }

    fn term(&mut self) -> Result<Term, FilterError> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(self.error(format!("more than {MAX_TERMS} conditions")));
        }
        let start = self.at;
        let name: String = self.chars[start..]
            .iter()
            .take_while(|c| c.is_alphabetic() || matches!(c, '_' | '-'))
            .collect();
        let after = start + name.chars().count();
        let Some((op, length)) = self.operator(after) else {
            self.look_alike(&name, after)?;
            let value = Value::Text(self.value(start)?);
            return Ok(Term {
                key: Key::Text,
                op: Op::Eq,
                value,
            });
        };
        if name.is_empty() {
            return Err(self.error(NO_KEY));
        }
        let key = Key::find(&name).map_err(|message| self.error_at(start, message))?;
        self.at = after + length;
        let value_at = self.at;
        if self.peek().is_none_or(|c| c.is_whitespace() || c == ')') {
            return Err(self.error(format!(
                "a value is missing after `{name}`; write it without a space, as in {}",
                key.example()
            )));
        }
        let text = self.value(value_at)?;
        let value = key
            .value(&text)
            .map_err(|message| self.error_at(value_at, message))?;
        if !matches!(op, Op::Eq | Op::Ne) && !matches!(key.kind(), Kind::Whole | Kind::Real) {
            return Err(self.error_at(
                after,
                format!("`{name}` has no order; write {}", key.example()),
            ));
        }
        if key == Key::Text && op == Op::Ne {
            return Err(self.error_at(after, "write not text:\"…\" for chains without a text"));
        }
        Ok(Term { key, op, value })
    }

    /// Refuses a sign that is meant for an operator: as a part of a text, it would hardly ever find anything. Behind a
    /// word that is no key it is text.
    fn look_alike(&self, name: &str, at: usize) -> Result<(), FilterError> {
        let sign = self.chars.get(at);
        let Some((sign, meant)) = LOOK_ALIKES.iter().find(|(other, _)| Some(other) == sign) else {
            return Ok(());
        };
        if name.is_empty() {
            return Err(self.error(NO_KEY));
        }
        match Key::find(name) {
            Ok(_) => Err(self.error_at(
                at,
                format!(
                    "write `{meant}` for `{sign}`, or quote the words to search for them as text"
                ),
            )),
            Err(_) => Ok(()),
        }
    }

    /// The operator at a place, and its length.
    fn operator(&self, at: usize) -> Option<(Op, usize)> {
        let next = self.chars.get(at + 1) == Some(&'=');
        match self.chars.get(at)? {
            ':' | '=' => Some((Op::Eq, 1)),
            '!' if next => Some((Op::Ne, 2)),
            '<' if next => Some((Op::Le, 2)),
            '>' if next => Some((Op::Ge, 2)),
            '<' => Some((Op::Lt, 1)),
            '>' => Some((Op::Gt, 1)),
            _ => None,
        }
    }

    /// A quoted string, or everything up to a space, a parenthesis or a quotation mark.
    fn value(&mut self, start: usize) -> Result<String, FilterError> {
        self.at = start;
        if self.peek() == Some('"') {
            return self.quoted();
        }
        let word: String = self.chars[start..]
            .iter()
            .take_while(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | '"'))
            .collect();
        self.at += word.chars().count();
        if word.is_empty() {
            return Err(self.error("a value is missing here; quote text that holds parentheses"));
        }
        self.skip_space();
        Ok(word)
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let opened = self.at;
        let mut text = String::new();
        self.at += 1;
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '"' => {
                    self.skip_space();
                    return Ok(text);
                }
                '\\' => match self.peek() {
                    Some(escaped @ ('"' | '\\')) => {
                        text.push(escaped);
                        self.at += 1;
                    }
                    _ => text.push('\\'),
                },
                c => text.push(c),
            }
        }
        Err(self.error_at(opened, "this quotation mark is never closed"))
    }

    fn sees_keyword(&self, word: &str) -> bool {
        let length = word.chars().count();
        let here: String = self.chars[self.at..].iter().take(length).collect();
        here.eq_ignore_ascii_case(word)
            && self
                .chars
                .get(self.at + length)
                .is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')' | '"'))
    }

    fn keyword(&mut self, word: &str) -> bool {
        let seen = self.sees_keyword(word);
        if seen {
            self.at += word.chars().count();
            self.skip_space();
        }
        seen
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn error(&self, message: impl Into<String>) -> FilterError {
        self.error_at(self.at, message)
    }

    fn error_at(&self, at: usize, message: impl Into<String>) -> FilterError {
        FilterError {
            column: at + 1,
            message: message.into(),
        }
    }
}

fn one_or(mut parts: Vec<Expr>, many: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}

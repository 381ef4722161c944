//! Conditions on figures, such as `drift>0.1`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Why a text is no condition.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConditionError {
    /// There is no comparison in it.
    #[error(
        "`{0}` is no condition; write a figure, one of > >= < <= = != and a number, such as drift>0.1"
    )]
    Form(String),
    /// What stands behind the comparison is no number.
    #[error("`{0}`: `{1}` is not a number")]
    Number(String, String),
}

/// How a figure is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

/// In the order in which they are looked for: those of two characters first.
const COMPARISONS: [(&str, Comparison); 6] = [
    (">=", Comparison::GreaterOrEqual),
    ("<=", Comparison::LessOrEqual),
    ("!=", Comparison::NotEqual),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
    ("=", Comparison::Equal),
];

/// A figure compared with a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    /// The figure's name.
    pub figure: String,
    comparison: Comparison,
    number: f64,
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let form = || ConditionError::Form(text.to_owned());
        let (figure, rest) = text.split_at(sign_at(text).ok_or_else(form)?);
        let (sign, comparison) = COMPARISONS
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or_else(form)?;
        let number = rest[sign.len()..].trim();
        let figure = figure.trim().to_owned();
        if figure.is_empty() || number.is_empty() {
            return Err(form());
        }
        let parsed = number.parse::<f64>().ok().filter(|n| n.is_finite());
        let wrong = || ConditionError::Number(text.to_owned(), number.to_owned());
        Ok(Self {
            text: text.to_owned(),
            figure,
            comparison,
            number: parsed.ok_or_else(wrong)?,
        })
    }
}

/// Where the last comparison begins: the name of a suite is that of a file and may hold such signs, a number cannot.
fn sign_at(text: &str) -> Option<usize> {
    let last = text.rfind(['<', '>', '='])?;
    let is_two = text[last..].starts_with('=') && text[..last].ends_with(['<', '>', '!']);
    Some(if is_two { last - 1 } else { last })
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// Whether it holds; `None` where there is no such figure.
    pub fn holds(&self, figures: &BTreeMap<String, f64>) -> Option<bool> {
        let value = *figures.get(&self.figure)?;
        Some(match self.comparison {
            Comparison::Greater => value > self.number,
            Comparison::GreaterOrEqual => value >= self.number,
            Comparison::Less => value < self.number,
            Comparison::LessOrEqual => value <= self.number,
            Comparison::Equal => value.total_cmp(&self.number).is_eq(),
            Comparison::NotEqual => value.total_cmp(&self.number).is_ne(),
        })
    }
}

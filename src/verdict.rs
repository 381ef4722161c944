//! Verdicts: what a critique decides, and how that is read from a model.
//!
//! A verdict is asked for in a fixed [`Shape`], with `violated` first, so that a clean one ends there.
//! `violated` is read from the probabilities of the two booleans and never searched for in prose. A
//! violated verdict must quote the words it objects to, and the quote is checked against the response.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::constitution::Severity;
use crate::generation::{Field, FieldKind, Generation, Shape};

/// Who reached a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictSource {
    /// The model, under a grammar.
    Model,
    /// A rule of the principle's `check`, decided by this program.
    Check,
}

impl VerdictSource {
    /// The name used in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            VerdictSource::Model => "model",
            VerdictSource::Check => "check",
        }
    }
}

/// What a critique decided about one response under one principle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the response violates the principle.
    pub violated: bool,
    /// P(violated), normalised over the two answers; `None` when the backend cannot tell, 0 or 1 for a check.
    pub probability: Option<f64>,
    /// How bad a violation is.
    pub severity: Option<Severity>,
    /// The words objected to.
    pub quote: Option<String>,
    /// Whether the quote occurs in the response, white space aside. False where there is no quote.
    pub quote_verified: bool,
    /// What is wrong; empty for a clean verdict.
    pub critique: String,
    /// Who decided.
    pub source: VerdictSource,
}

/// A reply that does not hold a verdict.
#[derive(Debug, Error, PartialEq)]
pub enum VerdictError {
    /// The reply is not the JSON object that was asked for.
    #[error("the reply is not a verdict: {0}")]
    NotJson(String),
}

/// The most tokens of a verdict's quote.
const QUOTE_TOKENS: u32 = 48;

/// The shape of a verdict. `critique_tokens` bounds its prose.
pub fn shape(threshold: f64, critique_tokens: u32) -> Shape {
    let field = |name: &str, kind| Field {
        name: name.to_owned(),
        kind,
    };
    Shape {
        fields: vec![
            field(
                "violated",
                FieldKind::Decision {
                    threshold,
                    end_if_false: true,
                },
            ),
            field(
                "quote",
                FieldKind::Text {
                    max_tokens: QUOTE_TOKENS.min(critique_tokens),
                },
            ),
            field(
                "critique",
                FieldKind::Text {
                    max_tokens: critique_tokens,
                },
            ),
            field(
                "severity",
                FieldKind::OneOf {
                    options: Severity::ALL.map(|s| s.as_str().to_owned()).to_vec(),
                },
            ),
        ],
    }
}

/// The JSON object that a model writes.
#[derive(Deserialize)]
struct Wire {
    violated: bool,
    quote: Option<String>,
    critique: Option<String>,
    severity: Option<Severity>,
}

/// Reads a verdict from a reply to [`shape`] and checks its quote against the response.
///
/// The threshold is applied again here, since a backend that cannot force tokens lets the model write
/// the boolean: the probability decides wherever it is known.
pub fn read(
    generation: &Generation,
    response: &str,
    threshold: f64,
) -> Result<Verdict, VerdictError> {
    let wire: Wire = serde_json::from_str(generation.text.trim())
        .map_err(|error| VerdictError::NotJson(error.to_string()))?;
    let probability = generation
        .decisions
        .iter()
        .find(|d| d.field == "violated")
        .map(|d| d.probability);
    let violated = probability.map_or(wire.violated, |p| p >= threshold);
    if !violated {
        return Ok(Verdict {
            violated,
            probability,
            severity: None,
            quote: None,
            quote_verified: false,
            critique: String::new(),
            source: VerdictSource::Model,
        });
    }
    let quote = wire.quote.filter(|quote| !quote.trim().is_empty());
    Ok(Verdict {
        violated,
        probability,
        severity: wire.severity,
        quote_verified: quote
            .as_deref()
            .is_some_and(|quote| occurs(quote, response)),
        quote,
        critique: wire.critique.unwrap_or_default().trim().to_owned(),
        source: VerdictSource::Model,
    })
}

/// Whether the words of `quote` occur in `text`, white space aside.
pub fn occurs(quote: &str, text: &str) -> bool {
    let squeeze = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let quote = squeeze(quote);
    !quote.is_empty() && squeeze(text).contains(&quote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{Decision, FinishReason, Usage};

    fn reply(text: &str, probability: Option<f64>) -> Generation {
        Generation {
            text: text.to_owned(),
            raw: text.to_owned(),
            thinking: None,
            thinking_unclosed: false,
            finish: FinishReason::Stop,
            decisions: probability
                .map(|probability| Decision {
                    field: "violated".to_owned(),
                    probability,
                })
                .into_iter()
                .collect(),
            invalid_utf8: false,
            usage: Usage::default(),
        }
    }

    #[test]
    fn a_clean_verdict_has_neither_quote_nor_critique() {
        let verdict = read(&reply(r#"{"violated": false}"#, Some(0.2)), "text", 0.5).unwrap();
        assert!(!verdict.violated);
        assert_eq!(verdict.critique, "");
        assert_eq!(verdict.probability, Some(0.2));
    }

    #[test]
    fn the_probability_decides_where_it_is_known() {
        let text = r#"{"violated": true, "quote": "x", "critique": "c", "severity": "minor"}"#;
        assert!(!read(&reply(text, Some(0.4)), "x", 0.5).unwrap().violated);
        assert!(read(&reply(text, None), "x", 0.5).unwrap().violated);
    }

    #[test]
    fn a_quote_is_verified_white_space_aside() {
        let text =
            r#"{"violated": true, "quote": "two\n words", "critique": "c", "severity": "major"}"#;
        assert!(
            read(&reply(text, None), "It has two words.", 0.5)
                .unwrap()
                .quote_verified
        );
        assert!(
            !read(&reply(text, None), "It has three.", 0.5)
                .unwrap()
                .quote_verified
        );
    }

    #[test]
    fn an_empty_quote_is_no_quote() {
        let text = r#"{"violated": true, "quote": " ", "critique": "c", "severity": "major"}"#;
        let verdict = read(&reply(text, None), " ", 0.5).unwrap();
        assert_eq!(verdict.quote, None);
        assert!(!verdict.quote_verified);
    }

    #[test]
    fn prose_is_not_a_verdict() {
        assert!(read(&reply("No critique needed.", None), "x", 0.5).is_err());
    }
}

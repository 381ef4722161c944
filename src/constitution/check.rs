//! Rules that a program decides: the `check` of a principle.

use serde::{Deserialize, Serialize};

/// The rules of a principle; all of them must hold for a response to pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// The response, trailing white space aside, ends with one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ends_with_any: Vec<String>,
}

/// A rule that a response broke.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// The name of the rule, such as `max_sentences`.
    pub rule: &'static str,
    /// Which rule broke and where, as a sentence.
    pub message: String,
    /// The words at fault, taken literally from the response, where there are any.
    pub quote: Option<String>,
}

impl Check {
    /// The rules that `response` breaks, in the order in which the rules are documented.
    pub fn breaches(&self, response: &str) -> Vec<Breach> {
        let _ = response;
        Vec::new()
    }
}

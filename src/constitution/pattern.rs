//! Regular expressions in checks: compiled once, bounded in size.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How long a pattern may be, in bytes.
const MAX_LENGTH: usize = 2_000;
/// How much memory a compiled pattern may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// How many compiled patterns are remembered.
const REMEMBERED: usize = 256;

thread_local! {
    /// Loading a file comes to each of its patterns more than once, and compiling is what takes time.
    static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
}

/// A regular expression in the syntax of the `regex` crate, which matches in linear time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Regex);

/// Why a pattern cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct PatternError(String);

impl Pattern {
    /// Compiles a pattern of at most 2,000 bytes and 1 MiB when compiled.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > MAX_LENGTH {
            let message = format!("it is longer than {MAX_LENGTH} bytes");
            return Err(PatternError(message));
        }
        let known = COMPILED.with_borrow(|compiled| compiled.get(pattern).cloned());
        if let Some(regex) = known {
            return Ok(Self(regex));
        }
        let regex = RegexBuilder::new(pattern)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .build()
            .map_err(|error| PatternError(reason(&error)))?;
        COMPILED.with_borrow_mut(|compiled| {
            if compiled.len() >= REMEMBERED {
                compiled.clear();
            }
            compiled.insert(pattern.to_owned(), regex.clone());
        });
        Ok(Self(regex))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The first match in a text: its byte offset and the words.
    pub fn find<'t>(&self, text: &'t str) -> Option<(usize, &'t str)> {
        self.0
            .find(text)
            .map(|found| (found.start(), found.as_str()))
    }
}

/// The crate's own messages draw the pattern over several lines and end with the reason.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => format!("it takes more than {MAX_COMPILED} bytes"),
        _ => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or("broken syntax");
            last.trim_start_matches("error: ").to_owned()
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(pattern: String) -> Result<Self, Self::Error> {
        Self::new(&pattern)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_survives_serialisation() {
        let pattern = Pattern::new(r"^\d+ (?i)apples$").unwrap();
        let json = serde_json::to_string(&pattern).unwrap();
        assert_eq!(json, r#""^\\d+ (?i)apples$""#);
        assert_eq!(serde_json::from_str::<Pattern>(&json).unwrap(), pattern);
        assert_eq!(pattern.find("12 Apples"), Some((0, "12 Apples")));
    }

    #[test]
    fn broken_and_oversized_patterns_are_refused_with_a_reason() {
        let reason = |pattern: &str| Pattern::new(pattern).unwrap_err().to_string();
        assert!(reason("(a").contains("unclosed group"), "{}", reason("(a"));
        assert!(reason(r"(a)\1").contains("backreferences"));
        assert!(reason(r"\w{500}{500}").contains("bytes"));
        assert!(reason(&"a".repeat(3_000)).contains("longer"));
        assert!(serde_json::from_str::<Pattern>(r#""[""#).is_err());
    }
}

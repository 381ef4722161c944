//! The filter language.

use thiserror::Error;

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
}

impl Filter {
    /// The filter that every chain matches.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads a filter. An empty text matches every chain.
    pub fn parse(source: &str) -> Result<Self, FilterError> {
        todo!()
    }

    /// The filter as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What matches both filters.
    pub fn and(self, other: Filter) -> Filter {
        todo!()
    }
}

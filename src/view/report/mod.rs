//! Reports: what a viewer shows, as one file that needs no server; and the same in short, as Markdown.
//!
//! The file holds the viewer's own pages as one script, and the chains as compressed JSON. **Its policy names
//! that script and that style by their digests and forbids every connection**, so nothing that a text says can
//! run or be fetched.

mod bundle;
mod html;
mod markdown;
mod packed;

use std::io;

use thiserror::Error;

pub use html::{HtmlOptions, html};
pub use markdown::markdown;

use crate::store::{Filter, Store, StoreError};

/// How a report in HTML begins, and one in Markdown; by this an earlier report is known.
pub const MARKS: [&str; 2] = [
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"generator\" content=\"amend report ",
    "<!-- amend report ",
];

/// What a report is about.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// Which chains.
    pub filter: &'a Filter,
    /// Of this run only, by its whole id.
    pub run: Option<&'a str>,
    /// The heading.
    pub title: &'a str,
}

/// Why a report could not be written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error("the report cannot be written")]
    Write(#[from] io::Error),
    /// The pages' own files; a mistake in the program.
    #[error("the pages cannot be put together: {0}")]
    Pages(String),
}

/// A heading for chains of a run, or of all runs of a store: constitution and model, where there is one each.
pub fn title(store: &Store, run: Option<&str>) -> Result<String, StoreError> {
    let runs = store.runs()?;
    let mut chosen = runs
        .iter()
        .filter(|row| run.is_none_or(|run| run == row.run_id));
    let Some(first) = chosen.next() else {
        return Ok("Amend".to_owned());
    };
    let constitution = format!("{} {}", first.constitution, first.constitution_version);
    let alike = chosen.all(|row| {
        row.constitution_digest == first.constitution_digest && row.model == first.model
    });
    Ok(match alike {
        true => format!("{constitution}, {}", first.model),
        false => format!("{} runs", runs.len()),
    })
}

#[cfg(test)]
mod tests;

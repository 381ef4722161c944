//! One layout for constitution files: `amend constitution fmt`.
//!
//! The text becomes a document that keeps its comments (`document`, `attach`), keys are put into the
//! order of the format, and the document is printed (`print`, `scalar`). Nothing is printed that does
//! not read as what was there: the result is read back and compared before it is given out.

mod attach;
mod document;
mod print;
mod scalar;
mod subject;

use std::path::Path;

use super::comments::comments;
pub(super) use scalar::double as quoted;
pub(super) use subject::{Subject, subjects};

use super::error::{Code, ConstitutionError, Problem};
use super::{shape, syntax, tree, wire};

/// How wide lines are, in characters.
pub const WIDTH: usize = 100;

/// The text of a constitution file in the layout that all files have.
///
/// Keys have the order of the format, texts are wrapped, comments are kept, and what the file says stays
/// the same, and with it the digest. `extends` is not followed.
///
/// # Errors
///
/// What is wrong with the file, by itself: a file with errors is not touched.
pub fn format(file: &Path, text: &str) -> Result<String, ConstitutionError> {
    if text.len() > super::MAX_BYTES {
        return Err(super::resolve::too_large(file).into());
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let before = read(file, text)?;
    let Some(mut document) = document::read(text) else {
        return Err(unsafe_layout(file).into());
    };
    document.sort();
    let printed = print::print(&document);
    // Whatever is wrong with the printed text is wrong with the printing.
    let after = read(file, &printed).map_err(|_| unsafe_layout(file))?;
    if before != after || texts(text) != texts(&printed) {
        return Err(unsafe_layout(file).into());
    }
    Ok(printed)
}

/// What a file says, in a form that can be compared.
fn read(file: &Path, text: &str) -> Result<String, ConstitutionError> {
    let mut problems = Vec::new();
    let root = tree::read(file, text, &mut problems);
    match &root {
        Ok(root) => shape::check(file, text, root, &mut problems),
        Err(problem) => problems.push(problem.clone()),
    }
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.span);
        return Err(ConstitutionError { problems });
    }
    let file: wire::File =
        serde_yaml::from_str(text).map_err(|error| syntax::unread(file, text, &error))?;
    Ok(format!("{file:?}"))
}

/// The texts of all comments. Moving a key moves its comments, so their order does not count.
fn texts(text: &str) -> Vec<String> {
    let mut texts: Vec<_> = comments(text)
        .into_iter()
        .map(|comment| comment.text)
        .collect();
    texts.sort();
    texts
}

/// A file that says something that is not understood well enough to print it.
fn unsafe_layout(file: &Path) -> Problem {
    let message = "the file is written in a way that cannot be laid out without changing it";
    let remedy = "write anchors, unusual quotes and comments inside brackets more plainly";
    Problem::new(Code::Unsupported, file, None, message, remedy)
}

#[cfg(test)]
mod tests;

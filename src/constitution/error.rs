//! What can be wrong with a constitution file, and where.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use super::code::{Code, Level};

/// How many problems are shown before the rest is only counted.
const SHOWN: usize = 20;

/// A stretch of a file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    /// The line of the first character.
    pub line: usize,
    /// The column of the first character.
    pub column: usize,
    /// The line of the first character after the stretch.
    pub end_line: usize,
    /// The column of the first character after the stretch.
    pub end_column: usize,
}

impl Span {
    /// A stretch without width.
    pub fn point(line: usize, column: usize) -> Self {
        Self {
            line,
            column,
            end_line: line,
            end_column: column,
        }
    }
}

/// A stretch of a named file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, as it was named or reached through `extends`.
    pub file: PathBuf,
    /// Where in the file.
    pub span: Span,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, span) = (self.file.display(), self.span);
        write!(f, "{file}:{}:{}", span.line, span.column)
    }
}

/// One thing that is wrong with a constitution file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    /// What kind of thing.
    pub code: Code,
    /// The file at fault.
    pub file: PathBuf,
    /// Where in the file; `None` where the file as a whole is at fault.
    pub span: Option<Span>,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    pub(super) fn new(
        code: Code,
        file: &Path,
        span: Option<Span>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code,
            file: file.to_owned(),
            span,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(span) = self.span {
            write!(f, ":{}:{}", span.line, span.column)?;
        }
        write!(f, ": {}; {}", self.message, self.remedy)
    }
}

impl Error for Problem {}

/// Everything that is wrong with a constitution: one line per problem, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConstitutionError {
    /// The problems; at least one.
    pub problems: Vec<Problem>,
}

impl From<Problem> for ConstitutionError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for ConstitutionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more; mend these first"),
        }
    }
}

impl Error for ConstitutionError {}

/// A short text as it may stand inside a message: one line, cut where it is long.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    let shown = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    cut.chars().map(shown).collect()
}

/// ` (did you mean …?)` when one of the candidates is close to what was written, else nothing.
pub(super) fn did_you_mean<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    const LONGEST: usize = 80;
    if written.len() > LONGEST {
        return String::new();
    }
    let lowered = written.to_lowercase();
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&lowered, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map_or(String::new(), |(_, candidate)| {
            format!(" (did you mean `{candidate}`?)")
        })
}

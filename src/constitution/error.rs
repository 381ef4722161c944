//! What can be wrong with a constitution file, and where.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How many problems are shown before the rest is only counted.
const SHOWN: usize = 20;

/// A stretch of a file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

/// The kind of a [`Problem`]: a stable word for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The file is missing, a directory, or cannot be read.
    Unreadable,
    /// The file, or something in it, is larger than what is read.
    TooLarge,
    /// The file is not UTF-8.
    NotUtf8,
    /// The file is not YAML.
    Syntax,
    /// The file holds nothing, or only comments.
    Empty,
    /// A YAML feature that constitutions do not use: several documents, tags, keys that are not text.
    Unsupported,
    /// Values nested too deeply.
    TooDeep,
    /// Aliases that expand to too much, or into themselves.
    Aliases,
    /// One mapping holds a key twice.
    DuplicateKey,
    /// A key that the format does not have.
    UnknownKey,
    /// A key that must be there and is not.
    MissingKey,
    /// A value of the wrong type.
    WrongType,
    /// A value of the right type that is out of range or not one of the words allowed.
    BadValue,
    /// A version of the format that this program does not read.
    UnknownSchema,
    /// A principle's id is not kebab-case.
    BadId,
    /// Two principles have one id.
    DuplicateId,
    /// `defaults.select` names a principle that is not there.
    UnknownId,
    /// A text that must say something is empty.
    EmptyText,
    /// A text with broken template syntax.
    Template,
    /// A text that uses a template variable that principles do not have.
    UnknownVariable,
    /// A pattern that is not a regular expression.
    Pattern,
    /// A file that `extends` names is missing.
    ExtendsMissing,
    /// Files that extend each other in a circle, or too many levels of them.
    ExtendsCycle,
    /// The digest of an extended file is not the one that was written down.
    ExtendsDigest,
    /// No principle takes part in runs.
    NoPrinciples,
}

impl Code {
    /// The word as it is written in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Unreadable => "unreadable",
            Code::TooLarge => "too-large",
            Code::NotUtf8 => "not-utf8",
            Code::Syntax => "syntax",
            Code::Empty => "empty",
            Code::Unsupported => "unsupported",
            Code::TooDeep => "too-deep",
            Code::Aliases => "aliases",
            Code::DuplicateKey => "duplicate-key",
            Code::UnknownKey => "unknown-key",
            Code::MissingKey => "missing-key",
            Code::WrongType => "wrong-type",
            Code::BadValue => "bad-value",
            Code::UnknownSchema => "unknown-schema",
            Code::BadId => "bad-id",
            Code::DuplicateId => "duplicate-id",
            Code::UnknownId => "unknown-id",
            Code::EmptyText => "empty-text",
            Code::Template => "template",
            Code::UnknownVariable => "unknown-variable",
            Code::Pattern => "pattern",
            Code::ExtendsMissing => "extends-missing",
            Code::ExtendsCycle => "extends-cycle",
            Code::ExtendsDigest => "extends-digest",
            Code::NoPrinciples => "no-principles",
        }
    }
}

/// One thing that is wrong with a constitution file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

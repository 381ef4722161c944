//! Checks a written dataset: that its files are what the manifest says, and its rows what a trainer needs.
//!
//! Rows are read back from the files, so that what is checked is what a trainer sees.

mod conversation;
mod files;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::generation::Message;
use crate::quality::similar::Prompts;
use crate::store::StoreError;

pub(in crate::export) use files::faults as file_faults;

use super::columns::{self, Column};
use super::format::Format;
use super::lesson::Lesson;
use super::manifest::{self, Manifest, SplitEntry};
use super::options::PROBABILITY;
use super::split::prompt_key;
use super::{Kind, columns_of, table};

/// Faults that are told one by one for each check; more are counted.
const TOLD: usize = 5;

/// Something that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Every file that the manifest names is there, with its size and digests, and no other that a reader takes for
    /// rows.
    Files,
    /// Every row can be read and has the columns of its format.
    Schema,
    /// There are as many rows as the manifest says.
    Counts,
    /// Perhaps a system message, then person and model in turn, and nothing is blank.
    Roles,
    /// Chosen and rejected texts differ.
    Contrast,
    /// No prompt is in two splits, and none that is nearly the same.
    Leakage,
    /// The model's template renders every row, and the text begins with one BOS at most.
    Template,
    /// No row has more tokens than allowed.
    Length,
}

impl Check {
    /// Every check, in the order in which they are reported.
    pub const ALL: [Check; 8] = [
        Check::Files,
        Check::Schema,
        Check::Counts,
        Check::Roles,
        Check::Contrast,
        Check::Leakage,
        Check::Template,
        Check::Length,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Check::Files => "files",
            Check::Schema => "schema",
            Check::Counts => "counts",
            Check::Roles => "roles",
            Check::Contrast => "contrast",
            Check::Leakage => "leakage",
            Check::Template => "template",
            Check::Length => "length",
        }
    }
}

/// A conversation as the model would be given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Its tokens.
    pub tokens: u32,
    /// BOS tokens with which it begins.
    pub leading_bos: u32,
}

/// Measures conversations under a model's own template and tokenizer.
pub trait Measure {
    /// The model's name.
    fn model(&self) -> &str;

    /// Measures a conversation that ends with the model's message. The error is the template's own.
    fn measure(&self, messages: &[Message]) -> Result<Measured, String>;
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What does not hold.
    pub check: Check,
    /// The file, by its name in the folder.
    pub file: String,
    /// The line, in Parquet the row; `None` where the whole file is meant.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// How long rows are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenFigures {
    /// The model whose template and tokenizer were used.
    pub model: String,
    /// Tokens that a row may have.
    pub limit: u32,
    /// Rows that have more.
    pub over: u64,
    /// Tokens of the longest row.
    pub longest: u32,
    /// Tokens of all rows.
    pub total: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The format.
    pub format: String,
    /// Rows read.
    pub rows: u64,
    /// Faults by check; a check without one holds.
    pub faults: BTreeMap<Check, u64>,
    /// The first faults of each check.
    pub told: Vec<Fault>,
    /// Checks that were not made, and why.
    pub skipped: BTreeMap<Check, String>,
    /// How long rows are; `None` without a tokenizer.
    pub tokens: Option<TokenFigures>,
}

impl Report {
    /// Whether everything that was checked holds.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Why a folder cannot be checked.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// There is no manifest, or one that was not written by this program.
    #[error("{}: {reason}; name a folder that `amend export` wrote", path.display())]
    NoManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The manifest names what this program does not know.
    #[error("{}: the {what} `{name}` is unknown; it may be of a later version", path.display())]
    Unknown {
        /// The manifest.
        path: PathBuf,
        /// What is unknown.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Prompts could not be held against each other.
    #[error(transparent)]
    Scratch(#[from] StoreError),
}

/// Checks the dataset in a folder. Without `measure` nothing is said about templates and tokens.
///
/// # Errors
///
/// When the folder holds no export, or there is no room for a temporary file.
pub fn verify(
    folder: &Path,
    limit: u32,
    measure: Option<&dyn Measure>,
) -> Result<Report, VerifyError> {
    let (manifest, format, kind) = files::manifest(folder)?;
    let several = manifest.splits.len() > 1;
    // Requests for critiques are alike in most of their words, whatever they are about.
    let near = several && format != Format::Critic;
    let mut verification = Verification {
        folder,
        manifest: &manifest,
        format,
        kind,
        columns: columns_of(format, manifest.soft_labels),
        measure,
        several,
        said: near.then(Prompts::begin).transpose()?,
        prompts: HashMap::new(),
        seen: Vec::new(),
        report: Report {
            format: manifest.format.clone(),
            rows: 0,
            faults: BTreeMap::new(),
            told: Vec::new(),
            skipped: BTreeMap::new(),
            tokens: measure.map(|measure| TokenFigures {
                model: measure.model().to_owned(),
                limit,
                ..TokenFigures::default()
            }),
        },
    };
    for fault in files::faults(folder, &manifest) {
        verification.fault(fault);
    }
    if measure.is_none() {
        for check in [Check::Template, Check::Length] {
            verification.skip(check, "no model was named");
        }
    }
    for (side, split) in manifest.splits.iter().enumerate() {
        verification.split(side, split)?;
    }
    let found = verification.report.rows;
    if found != manifest.rows {
        verification.fault(Fault {
            check: Check::Counts,
            file: manifest::FILE.to_owned(),
            line: None,
            what: format!("{found} rows in all splits in place of {}", manifest.rows),
        });
    }
    match (several, near) {
        (false, _) => verification.skip(Check::Leakage, "there is one split"),
        (true, false) => verification.skip(
            Check::Leakage,
            "beyond equal requests, since rows hold these and not the chains' prompts",
        ),
        (true, true) => verification.near_leaks()?,
    }
    Ok(verification.report)
}

/// A verification under way.
struct Verification<'a> {
    folder: &'a Path,
    manifest: &'a Manifest,
    format: Format,
    kind: Kind,
    columns: Vec<Column>,
    measure: Option<&'a dyn Measure>,
    /// Whether there are several splits.
    several: bool,
    /// The prompts by what they say, in the order of `seen`, where those that are nearly the same are looked for.
    said: Option<Prompts>,
    /// The prompts by key, in `seen`.
    prompts: HashMap<u64, usize>,
    seen: Vec<Seen>,
    report: Report,
}

/// A prompt, where it was first seen.
struct Seen {
    side: usize,
    file: String,
    line: u64,
}

/// Where a row stands.
struct Place<'a> {
    file: &'a str,
    line: u64,
}

impl Verification<'_> {
    fn split(&mut self, side: usize, split: &SplitEntry) -> Result<(), StoreError> {
        let (before, counted) = (self.report.rows, self.faults(Check::Counts));
        for file in &split.files {
            self.file(side, split, file)?;
        }
        let found = self.report.rows - before;
        // Where a file is named already, the split says nothing more.
        if found != split.rows && self.faults(Check::Counts) == counted {
            self.fault(Fault {
                check: Check::Counts,
                file: split.files.join(", "),
                line: None,
                what: format!("{found} rows in place of {}", split.rows),
            });
        }
        Ok(())
    }

    fn file(&mut self, side: usize, split: &SplitEntry, file: &str) -> Result<(), StoreError> {
        // Names are the manifest's, and nobody says that those are honest.
        if !files::is_inside(file) {
            return Ok(());
        }
        let rows = match table::read(self.kind, &self.columns, &self.folder.join(file)) {
            Ok(rows) => rows,
            Err(reason) => {
                self.fault(Fault {
                    check: Check::Schema,
                    file: file.to_owned(),
                    line: None,
                    what: reason,
                });
                return Ok(());
            }
        };
        let before = self.report.rows;
        for (line, row) in rows {
            self.report.rows += 1;
            let place = Place { file, line };
            match row.and_then(|row| self.read(row)) {
                Ok(lesson) => self.row(side, split, &place, &lesson)?,
                Err(reason) => self.fault_at(Check::Schema, &place, reason),
            }
        }
        let found = self.report.rows - before;
        let mut entries = self.manifest.files.iter();
        let lines = entries
            .find(|entry| entry.name == file)
            .map(|entry| entry.lines);
        if let Some(lines) = lines.filter(|lines| *lines != found) {
            self.fault(Fault {
                check: Check::Counts,
                file: file.to_owned(),
                line: None,
                what: format!("{found} rows in place of {lines}"),
            });
        }
        Ok(())
    }

    fn read(&self, row: Value) -> Result<Lesson, String> {
        columns::check(&self.columns, &row)?;
        let mut lesson = self.format.layout().lesson(&row)?;
        // A column that any format of pairs may have.
        if let Lesson::Pair { probability, .. } = &mut lesson {
            *probability = row[PROBABILITY].as_f64();
        }
        Ok(lesson)
    }

    fn row(
        &mut self,
        side: usize,
        split: &SplitEntry,
        place: &Place<'_>,
        lesson: &Lesson,
    ) -> Result<(), StoreError> {
        for what in conversation::faults(lesson) {
            self.fault_at(Check::Roles, place, what);
        }
        if let Some(what) = conversation::contrast(lesson) {
            self.fault_at(Check::Contrast, place, what);
        }
        if self.several {
            self.leak(side, split, place, lesson.prompt())?;
        }
        self.measure(place, lesson);
        Ok(())
    }

    fn leak(
        &mut self,
        side: usize,
        split: &SplitEntry,
        place: &Place<'_>,
        prompt: &[Message],
    ) -> Result<(), StoreError> {
        let next = self.seen.len();
        let first = *self.prompts.entry(prompt_key(prompt)).or_insert(next);
        if first == next {
            self.seen.push(Seen {
                side,
                file: place.file.to_owned(),
                line: place.line,
            });
            if let Some(said) = &mut self.said {
                said.add(prompt)?;
            }
        } else if self.seen[first].side != side {
            let Seen { file, line, .. } = &self.seen[first];
            let what = format!(
                "the prompt of this row of {} is also at {file}:{line}",
                split.name
            );
            self.fault_at(Check::Leakage, place, what);
        }
        Ok(())
    }

    /// Prompts that are nearly the same and in different splits.
    fn near_leaks(&mut self) -> Result<(), StoreError> {
        let Some(said) = &self.said else {
            return Ok(());
        };
        let mut alike = Vec::new();
        said.alike(|one, other| alike.push((one, other)))?;
        alike.sort_unstable();
        for (one, other) in alike {
            let (one, other) = (&self.seen[one as usize], &self.seen[other as usize]);
            if one.side != other.side {
                let what = format!("the prompt is nearly that of {}:{}", one.file, one.line);
                self.fault(Fault {
                    check: Check::Leakage,
                    file: other.file.clone(),
                    line: Some(other.line),
                    what,
                });
            }
        }
        Ok(())
    }

    fn measure(&mut self, place: &Place<'_>, lesson: &Lesson) {
        let Some(measure) = self.measure else {
            return;
        };
        let mut longest = 0;
        for messages in conversation::whole(lesson) {
            match measure.measure(&messages) {
                Ok(measured) => {
                    longest = longest.max(measured.tokens);
                    if measured.leading_bos > 1 {
                        let what = format!("{} BOS tokens at its beginning", measured.leading_bos);
                        self.fault_at(Check::Template, place, what);
                    }
                }
                Err(reason) => return self.fault_at(Check::Template, place, reason),
            }
        }
        let Some(figures) = &mut self.report.tokens else {
            return;
        };
        figures.longest = figures.longest.max(longest);
        figures.total += u64::from(longest);
        if longest > figures.limit {
            figures.over += 1;
            let what = format!("{longest} tokens, and {} are allowed", figures.limit);
            self.fault_at(Check::Length, place, what);
        }
    }

    fn skip(&mut self, check: Check, why: &str) {
        self.report.skipped.insert(check, why.to_owned());
    }

    fn faults(&self, check: Check) -> u64 {
        self.report.faults.get(&check).copied().unwrap_or_default()
    }

    fn fault_at(&mut self, check: Check, place: &Place<'_>, what: String) {
        self.fault(Fault {
            check,
            file: place.file.to_owned(),
            line: Some(place.line),
            what,
        });
    }

    fn fault(&mut self, fault: Fault) {
        let count = self.report.faults.entry(fault.check).or_default();
        *count += 1;
        if *count <= TOLD as u64 {
            self.report.told.push(fault);
        }
    }
}

#[cfg(test)]
mod tests;

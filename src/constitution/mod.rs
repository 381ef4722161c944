//! Constitutions: the written principles that responses are held to.
//!
//! [`load`] takes the name of a shipped constitution or the path of a YAML file and gives the resolved
//! form. On the way a file becomes a tree that knows its lines, is held against the form of the
//! format, is read by `serde_yaml`, and is laid over the files that it extends; every problem is
//! reported with file, line, column and a remedy.

pub mod check;
mod code;
mod comments;
mod compare;
mod draw;
mod error;
mod form;
pub mod interchange;
mod language;
pub mod layout;
pub mod lint;
mod merge;
mod pattern;
mod resolve;
mod salvage;
mod schema;
mod sentences;
mod shape;
mod source;
mod starter;
mod syntax;
mod template;
mod tree;
mod wire;

use serde::{Deserialize, Serialize};

pub use check::{Breach, Check};
pub use comments::lines;
pub use compare::{Change, Comparison, FieldChange, PrincipleChange, compare};
pub use draw::by_weight;
pub use error::{Code, ConstitutionError, Level, Place, Problem, Span};
pub use language::detect as detect_language;
pub use merge::Origin;
pub use resolve::{MAX_BYTES, Resolved, resolve};
pub use schema::{schema, schema_text};
pub use sentences::sentences;
pub use source::{Loaded, SHIPPED, Shipped, Source, load};
pub use starter::{MODELINE, copy, starter};
pub use template::{VARIABLES, strict_environment};

use crate::digest::Digest;

/// A constitution in its resolved form: `extends` followed, defaults filled in.
///
/// Its digest identifies it; comments and layout of the YAML files do not matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constitution {
    /// The version of the file format; 1.
    pub schema: u32,
    /// Its name, such as `helpful-harmless-honest`.
    pub name: String,
    /// Its version, such as `1.0.0`.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// The licence of its text, as an SPDX identifier.
    pub license: String,
    /// What a run does unless its command line says otherwise.
    pub defaults: Defaults,
    /// The principles, in the order in which they were written.
    pub principles: Vec<Principle>,
}

impl Constitution {
    /// The digest of the resolved form.
    pub fn digest(&self) -> Digest {
        Digest::of(self)
    }

    /// The principle with the given id.
    pub fn principle(&self, id: &str) -> Option<&Principle> {
        self.principles.iter().find(|principle| principle.id == id)
    }

    /// The principles that take part in runs, lower precedence first, in file order where equal.
    pub fn active(&self) -> Vec<&Principle> {
        let mut active: Vec<_> = self
            .principles
            .iter()
            .filter(|p| p.status == Status::Active)
            .collect();
        active.sort_by_key(|p| p.precedence);
        active
    }
}

/// What a run does unless its command line says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// Rounds of critique and revision.
    pub rounds: Option<u32>,
    /// `sample`, `all`, or a comma-separated list of ids.
    pub select: Option<String>,
    /// When to revise.
    pub revise: Option<Revise>,
}

/// When a critique is followed by a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Revise {
    /// Only when the verdict is that the response violates the principle.
    WhenViolated,
    /// After every critique.
    Always,
    /// Not at all: responses are only judged.
    Never,
}

/// One principle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Principle {
    /// Kebab-case, unique in the constitution.
    pub id: String,
    /// A short name for people.
    pub title: String,
    /// What to look for. May use template variables.
    pub critique: String,
    /// How to mend it. May use template variables.
    pub revision: String,
    /// Its share when principles are drawn at random; above or equal to 0.
    pub weight: f64,
    /// Lower goes first, and wins a conflict.
    pub precedence: i64,
    /// How bad a violation is.
    pub severity: Severity,
    /// Free labels.
    pub tags: Vec<String>,
    /// Whether it takes part in runs.
    pub status: Status,
    /// Why it exists.
    pub rationale: String,
    /// A rule that a program decides, in place of the model.
    pub check: Option<Check>,
    /// Few-shot material.
    pub examples: Vec<Example>,
    /// Unit tests of the principle.
    pub tests: Vec<PrincipleTest>,
}

/// How bad a violation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A blemish.
    Minor,
    /// A fault.
    Major,
    /// A harm.
    Critical,
}

impl Severity {
    /// All severities, mildest first.
    pub const ALL: [Severity; 3] = [Severity::Minor, Severity::Major, Severity::Critical];

    /// The name used in files and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Minor => "minor",
            Severity::Major => "major",
            Severity::Critical => "critical",
        }
    }
}

/// Whether a principle takes part in runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Active,
    /// Not yet.
    Draft,
    /// No longer.
    Retired,
}

/// A worked example of a principle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub response: String,
    /// What is wrong with the answer.
    pub critique: String,
    /// The mended answer.
    pub revision: String,
}

/// A unit test of a principle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipleTest {
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub response: String,
    /// The verdict to expect.
    pub expect: Expect,
}

/// The verdict that a [`PrincipleTest`] expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// The response violates the principle.
    Violation,
    /// It does not.
    Ok,
}

//! A constitution file as it is written: what `serde_yaml` reads.

use serde::{Deserialize, Deserializer};

use super::{Check, Defaults, Example, PrincipleTest, Severity, Status};

/// One file, before `extends` is followed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default = "first_schema")]
    pub schema: u32,
    pub name: String,
    pub version: Option<String>,
    pub description: Option<String>,
    pub license: Option<String>,
    /// Followed through the tree, which knows the line of every entry.
    #[serde(default, rename = "extends", deserialize_with = "one_or_more")]
    pub _extends: Vec<String>,
    #[serde(default)]
    pub defaults: Defaults,
    #[serde(default)]
    pub principles: Vec<Principle>,
}

/// A principle, or the changes to one that an extended file has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Principle {
    pub id: String,
    pub title: Option<String>,
    pub critique: Option<String>,
    pub revision: Option<String>,
    pub weight: Option<f64>,
    pub precedence: Option<i64>,
    pub severity: Option<Severity>,
    pub tags: Option<Vec<String>>,
    pub status: Option<Status>,
    pub rationale: Option<String>,
    pub check: Option<Check>,
    pub examples: Option<Vec<Example>>,
    pub tests: Option<Vec<PrincipleTest>>,
}

impl Principle {
    /// A principle of which nothing is known but its id.
    pub fn empty(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    /// Takes over every field that `changes` has.
    pub fn overlay(&mut self, changes: &Self) {
        fn take<T: Clone>(field: &mut Option<T>, change: &Option<T>) {
            if change.is_some() {
                field.clone_from(change);
            }
        }
        take(&mut self.title, &changes.title);
        take(&mut self.critique, &changes.critique);
        take(&mut self.revision, &changes.revision);
        take(&mut self.weight, &changes.weight);
        take(&mut self.precedence, &changes.precedence);
        take(&mut self.severity, &changes.severity);
        take(&mut self.tags, &changes.tags);
        take(&mut self.status, &changes.status);
        take(&mut self.rationale, &changes.rationale);
        take(&mut self.check, &changes.check);
        take(&mut self.examples, &changes.examples);
        take(&mut self.tests, &changes.tests);
    }
}

/// Files that do not say which version of the format they are in are in the first one.
fn first_schema() -> u32 {
    1
}

/// Reads a list, or one value alone as a list of one.
pub(super) fn one_or_more<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore<T> {
        More(Vec<T>),
        One(T),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::More(values) => values,
        OneOrMore::One(value) => vec![value],
    })
}

//! Prompt packs: the messages of every step, as strict templates.
//!
//! A pack is a folder: `pack.yaml` says what it is, and one YAML file a step lists messages whose
//! contents are minijinja templates. The YAML is parsed first and each content rendered after, so that
//! no text can change roles. Variables and keys that do not exist are errors when the pack is loaded.

mod compile;
mod file;
mod judge;
mod variables;

use std::collections::BTreeMap;

use minijinja::Environment;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::chain::StepKind;
use crate::constitution::{Revise, strict_environment};
use crate::digest::Digest;
use crate::generation::{Message, Role};

pub use file::MAX_BYTES;
pub use judge::{Comparison, JudgeStep};
pub use variables::{Vars, principle_text};

use compile::Entry;
use judge::Part;

/// The packs that come with this program.
const BUILTIN: [(&str, &[(&str, &str)]); 2] = [
    (
        "default",
        &[
            ("pack.yaml", include_str!("../../prompts/default/pack.yaml")),
            (
                "draft.yaml",
                include_str!("../../prompts/default/draft.yaml"),
            ),
            (
                "critique.yaml",
                include_str!("../../prompts/default/critique.yaml"),
            ),
            (
                "revision.yaml",
                include_str!("../../prompts/default/revision.yaml"),
            ),
            (
                "judge.yaml",
                include_str!("../../prompts/default/judge.yaml"),
            ),
            (
                "reason.yaml",
                include_str!("../../prompts/default/reason.yaml"),
            ),
            (
                "conclude.yaml",
                include_str!("../../prompts/default/conclude.yaml"),
            ),
        ],
    ),
    (
        "paper",
        &[
            ("pack.yaml", include_str!("../../prompts/paper/pack.yaml")),
            ("draft.yaml", include_str!("../../prompts/paper/draft.yaml")),
            (
                "critique.yaml",
                include_str!("../../prompts/paper/critique.yaml"),
            ),
            (
                "revision.yaml",
                include_str!("../../prompts/paper/revision.yaml"),
            ),
            (
                "recheck.yaml",
                include_str!("../../prompts/paper/recheck.yaml"),
            ),
            ("judge.yaml", include_str!("../../prompts/paper/judge.yaml")),
            (
                "reason.yaml",
                include_str!("../../prompts/paper/reason.yaml"),
            ),
            (
                "conclude.yaml",
                include_str!("../../prompts/paper/conclude.yaml"),
            ),
        ],
    ),
];

/// How a pack asks for critiques.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CritiqueStyle {
    /// A verdict in a fixed shape.
    Verdict,
    /// Free prose.
    Prose,
}

/// What a run with this pack does unless its command line or constitution says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackDefaults {
    /// Rounds of critique and revision.
    pub rounds: Option<u32>,
    /// When to revise.
    pub revise: Option<Revise>,
    /// Sampling settings that differ from the program's.
    pub sampling: SamplingDefaults,
}

/// Sampling settings of a pack; `None` leaves the program's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingDefaults {
    /// Divides the logits; 0 means greedy decoding.
    pub temperature: Option<f64>,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens whose probabilities sum to at least this; 1 keeps all.
    pub top_p: Option<f64>,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: Option<f64>,
    /// The most tokens a reply may have.
    pub max_tokens: Option<u32>,
}

/// Why a pack cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum PackError {
    /// A file of the pack is wrong.
    #[error("{file}{}: {message}", at_line(.line))]
    Invalid {
        /// The file.
        file: String,
        /// Line, from 1, where it can be told.
        line: Option<usize>,
        /// What is wrong and what to do.
        message: String,
    },
    /// The pack cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// A step cannot be rendered.
    #[error("{0}")]
    Render(String),
    /// The content of a message cannot be rendered.
    #[error("pack `{pack}`, {message}, line {line} of its content: {reason}")]
    Content {
        /// The pack.
        pack: String,
        /// The file and the number of the message.
        message: String,
        /// Line within the content, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

fn at_line(line: &Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

/// A prompt pack.
#[derive(Clone, Debug)]
pub struct Pack {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// How it asks for critiques.
    pub critique: CritiqueStyle,
    /// What a run does unless told otherwise.
    pub defaults: PackDefaults,
    text: String,
    digest: Digest,
    judge_digest: Digest,
    steps: BTreeMap<&'static str, Vec<Entry>>,
    environment: Environment<'static>,
}

impl Pack {
    /// Loads `default` or `paper`, or the pack in the given folder.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, is larger than [`MAX_BYTES`], or holds a file that is wrong; the
    /// error names file and line.
    pub fn load(name_or_path: &str) -> Result<Pack, PackError> {
        let builtin = BUILTIN.iter().find(|(name, _)| *name == name_or_path);
        let files = match builtin {
            Some((name, files)) => files
                .iter()
                .map(|(file, text)| {
                    (
                        (*file).to_owned(),
                        format!("{name}/{file}"),
                        (*text).to_owned(),
                    )
                })
                .collect(),
            None => file::read_folder(name_or_path)?,
        };
        file::build(files)
    }

    /// The names of the packs that come with this program.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// Reads back what [`text`](Self::text) gives.
    pub fn from_text(text: &str) -> Result<Pack, PackError> {
        file::build(file::split(text)?)
    }

    /// All files of the pack as one text, which [`from_text`](Self::from_text) reads back.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The digest of what the pack says; comments, layout and the description do not change it.
    pub fn digest(&self) -> Digest {
        self.digest.clone()
    }

    /// The messages of a step. A pack without a recheck of its own rechecks as it criticises.
    ///
    /// # Errors
    ///
    /// When a template fails, as with a filter that refuses its value, or when the step is about a
    /// principle and `vars` has none.
    pub fn render(&self, step: StepKind, vars: &Vars<'_>) -> Result<Vec<Message>, PackError> {
        let entries = self.entries(step);
        let values = variables::of_step(step, vars)?;
        let mut messages = Vec::new();
        for entry in entries {
            self.expand(entry, vars, &values, &mut messages)?;
        }
        self.ends_well(step.into(), messages)
    }

    /// Messages that a model can answer.
    fn ends_well(&self, step: Part, messages: Vec<Message>) -> Result<Vec<Message>, PackError> {
        match messages.last() {
            Some(message) if message.role == Role::User => Ok(messages),
            Some(_) => Err(self.failed(step, "the messages do not end with the user's")),
            None => Err(self.failed(step, "there are no messages")),
        }
    }

    fn entries(&self, step: StepKind) -> &[Entry] {
        let own = self.steps.get(step.as_str());
        let stand_in = || self.steps.get(StepKind::Critique.as_str());
        own.or_else(stand_in).map_or(&[], Vec::as_slice)
    }

    fn expand(
        &self,
        entry: &Entry,
        vars: &Vars<'_>,
        values: &minijinja::Value,
        messages: &mut Vec<Message>,
    ) -> Result<(), PackError> {
        match entry {
            Entry::Message { role, template } => {
                let content = self.content(template, values)?;
                messages.push(Message::new(*role, content));
            }
            Entry::Conversation => messages.extend_from_slice(vars.conversation),
            Entry::Critique => messages.extend(self.render(StepKind::Critique, vars)?),
            // Only what judges are told may hold it.
            Entry::Reasoning => {}
            Entry::Examples(entries) => {
                let examples = vars.principle.map_or(&[][..], |p| &p.examples);
                for example in examples {
                    let values = variables::with_example(values, example);
                    for entry in entries {
                        self.expand(entry, vars, &values, messages)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn content(&self, template: &str, values: &minijinja::Value) -> Result<String, PackError> {
        self.environment
            .get_template(template)
            .and_then(|template| template.render(values))
            .map_err(|error| PackError::Content {
                pack: self.name.clone(),
                message: template.to_owned(),
                line: error.line().unwrap_or(1),
                reason: variables::describe(&error),
            })
    }

    fn failed(&self, step: Part, message: &str) -> PackError {
        PackError::Render(format!(
            "pack `{}`, step {}: {message}",
            self.name,
            step.as_str()
        ))
    }
}

#[cfg(test)]
mod tests;

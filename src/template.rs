//! Prompt packs: the messages of every step, as strict templates.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::chain::StepKind;
use crate::constitution::{Principle, Revise};
use crate::digest::Digest;
use crate::generation::Message;

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
    pub temperature: Option<f32>,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens whose probabilities sum to at least this; 1 keeps all.
    pub top_p: Option<f32>,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: Option<f32>,
    /// The most tokens a reply may have.
    pub max_tokens: Option<u32>,
}

/// Why a pack cannot be used.
#[derive(Debug, Error)]
pub enum PackError {
    /// A file of the pack is wrong.
    #[error("{file}, line {line}: {message}")]
    Invalid {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what to do.
        message: String,
    },
    /// The pack cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// A step cannot be rendered.
    #[error("{0}")]
    Render(String),
}

/// What the templates of a step may use.
#[derive(Clone, Copy, Debug)]
pub struct Vars<'a> {
    /// The prompt's own messages.
    pub conversation: &'a [Message],
    /// What the person says last.
    pub prompt: &'a str,
    /// The first response.
    pub draft: Option<&'a str>,
    /// The current response.
    pub response: Option<&'a str>,
    /// What is wrong with it.
    pub critique: Option<&'a str>,
    /// The words objected to.
    pub quote: Option<&'a str>,
    /// The principle the step is about.
    pub principle: Option<&'a Principle>,
    /// The name of the constitution.
    pub constitution_name: &'a str,
    /// The round, from 1; 0 for the draft.
    pub round: u32,
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
}

impl Pack {
    /// Loads `default` or `paper`, or the pack in the given folder.
    pub fn load(_name_or_path: &str) -> Result<Pack, PackError> {
        unimplemented!()
    }

    /// Reads back what [`text`](Self::text) gives.
    pub fn from_text(_text: &str) -> Result<Pack, PackError> {
        unimplemented!()
    }

    /// All files of the pack as one text, which [`from_text`](Self::from_text) reads back.
    pub fn text(&self) -> &str {
        unimplemented!()
    }

    /// The digest of [`text`](Self::text).
    pub fn digest(&self) -> Digest {
        unimplemented!()
    }

    /// The messages of a step.
    pub fn render(&self, _step: StepKind, _vars: &Vars<'_>) -> Result<Vec<Message>, PackError> {
        unimplemented!()
    }
}

/// Renders a principle's own text, which may use template variables.
pub fn principle_text(_template: &str, _vars: &Vars<'_>) -> Result<String, PackError> {
    unimplemented!()
}

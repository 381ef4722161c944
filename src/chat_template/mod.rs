//! The model's own chat template, rendered to trusted and untrusted spans.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::digest::Digest;
use crate::generation::Message;

/// A piece of a rendered conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The text; never changed by being split off.
    pub text: String,
    /// True when it comes from the template, false when it comes from a message.
    pub trusted: bool,
}

/// Why a chat template cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ChatTemplateError {
    /// The template does not compile.
    #[error("chat template `{name}`, line {line}: {message}")]
    Syntax {
        /// Name of the template.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The template refused the messages with `raise_exception`.
    #[error("{0}")]
    Raised(String),
    /// Rendering failed.
    #[error("chat template `{name}`, line {line}: {message}")]
    Render {
        /// Name of the template.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// What comes from the template and what from a message cannot be told apart.
    #[error("{0}")]
    Ambiguous(String),
}

/// A compiled chat template with its arguments.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    name: String,
    digest: Digest,
}

impl ChatTemplate {
    /// Compiles `source`. `bos` and `eos` become `bos_token` and `eos_token`; `kwargs` are further variables.
    pub fn new(
        name: &str,
        source: &str,
        bos: &str,
        eos: &str,
        kwargs: Map<String, Value>,
    ) -> Result<Self, ChatTemplateError> {
        Ok(Self {
            name: name.to_owned(),
            digest: Digest::of(&(source, bos, eos, kwargs)),
        })
    }

    /// The source of a template that comes with this program.
    pub fn builtin(_name: &str) -> Option<&'static str> {
        None
    }

    /// The names that [`builtin`](Self::builtin) knows.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        ["chatml"].into_iter()
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest of source, arguments and special tokens.
    pub fn digest(&self) -> Digest {
        self.digest.clone()
    }

    /// Renders to spans; concatenated they are what [`render_text`](Self::render_text) gives.
    pub fn render(
        &self,
        _messages: &[Message],
        _add_generation_prompt: bool,
    ) -> Result<Vec<Span>, ChatTemplateError> {
        unimplemented!()
    }

    /// Renders to text, as Python's jinja2 would.
    pub fn render_text(
        &self,
        _messages: &[Message],
        _add_generation_prompt: bool,
    ) -> Result<String, ChatTemplateError> {
        unimplemented!()
    }

    /// Whether the rendered conversation ends inside a think block that the template opened, so that a
    /// reply begins with thoughts.
    pub fn opens_thinking(&self, _spans: &[Span]) -> bool {
        unimplemented!()
    }
}

//! Prompts: what the model is asked to respond to.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::generation::{Message, Role};

/// Names a prompt within a prompt file: the file's own `id`, or one made from the content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PromptId(pub String);

impl PromptId {
    /// The id of a prompt that has none of its own: `p-` and 12 characters of its content's digest.
    pub fn from_content(messages: &[Message]) -> Self {
        Self(format!("p-{}", Digest::of(messages).id(12)))
    }
}

impl fmt::Display for PromptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A conversation that ends with the person, waiting for a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Unique within its file.
    pub id: PromptId,
    /// One user message, or a longer conversation that ends with one.
    pub messages: Vec<Message>,
    /// Every other field of the row, carried along.
    pub metadata: Map<String, Value>,
}

impl Prompt {
    /// What the person says last: the text that the response answers.
    pub fn text(&self) -> &str {
        self.messages
            .iter()
            .rev()
            .find(|message| message.role == Role::User)
            .map_or("", |message| &message.content)
    }
}

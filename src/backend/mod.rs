//! Backends: the seam between chains and a model.

pub mod http;
pub mod llama;
mod reply;
pub mod scripted;

use crossbeam_channel::Sender;
use thiserror::Error;

pub use crate::generation::ModelIdentity;
use crate::generation::{Message, Reply, Request};

pub use reply::ReplyTo;

/// What to do where a conversation does not fit. It ends the message of
/// [`ContextExceeded`](BackendError::ContextExceeded), and tells such failures apart once they are texts.
pub const CONTEXT_REMEDY: &str = "shorten the prompt, or begin a run with a larger --ctx-size";

/// Why a backend could not answer.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum BackendError {
    /// The conversation does not fit.
    #[error(
        "the request has {tokens} tokens and the context holds {context}; {}",
        CONTEXT_REMEDY
    )]
    ContextExceeded {
        /// Tokens of the rendered conversation.
        tokens: u32,
        /// The most that one sequence may have.
        context: u32,
    },
    /// The chat template refused the messages.
    #[error("the chat template cannot render these messages: {0}")]
    Template(String),
    /// The model could not be loaded.
    #[error("{0}")]
    Load(String),
    /// Inference failed.
    #[error("inference failed: {0}")]
    Inference(String),
    /// Nobody answers any more, so that every further request would fail as well.
    #[error("{0}")]
    Unreachable(String),
    /// The backend has stopped.
    #[error("the backend has stopped")]
    Stopped,
}

/// Tells which request a reply belongs to; chosen by the caller. Where requests wait, those with lower
/// tickets go first.
pub type Ticket = u64;

/// A reply on its way back.
pub type TicketReply = (Ticket, Result<Reply, BackendError>);

/// One model that answers requests, several at a time.
pub trait Backend: Send + Sync {
    /// What the model is.
    fn identity(&self) -> &ModelIdentity;

    /// How many requests are worth keeping in flight.
    fn parallelism(&self) -> usize;

    /// How many tokens the conversation has once rendered.
    fn count_tokens(&self, messages: &[Message]) -> Result<u32, BackendError>;

    /// Whether [`count_tokens`](Self::count_tokens) counts. It estimates where a server cannot be asked.
    fn counts_exactly(&self) -> bool {
        true
    }

    /// Takes a request. Exactly one reply is sent for every ticket, also when the backend fails; a
    /// receiver that has gone away is no error.
    fn submit(&self, ticket: Ticket, request: Request, reply: Sender<TicketReply>);
}

/// A text in parts that hold a word no more: it is cut behind the first character of each occurrence, so
/// that no token can be made of the whole word.
fn cut_inside<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let first = word.chars().next().map_or(0, char::len_utf8);
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(word) {
        parts.push(&text[from..at + first]);
        from = at + first;
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::cut_inside;

    #[test]
    fn a_word_is_cut_wherever_it_stands() {
        assert_eq!(cut_inside("a<s>b<s>", "<s>"), ["a<", "s>b<", "s>"]);
        assert_eq!(cut_inside("é!é!", "é!"), ["é", "!é", "!"]);
        assert_eq!(cut_inside("none", "<s>"), ["none"]);
    }
}

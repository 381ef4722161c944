//! A request made ready for the worker.

use crate::backend::llama::lookup::Lookup;
use crate::backend::llama::sampling::Sampler;
use crate::backend::llama::shape::ShapeWriter;
use crate::backend::{ReplyTo, Ticket};

/// A request made ready for the worker: everything is tokenised.
#[derive(Debug)]
pub struct Job {
    /// The tokens to decode before the first row of logits is asked for.
    pub tokens: Vec<u32>,
    /// How many of them render the conversation; the others begin the reply.
    pub prompt_tokens: usize,
    /// The most tokens that may follow the conversation.
    pub room: usize,
    /// Which adapter computes it, counted as the worker counts them.
    pub domain: usize,
    /// Proposes tokens of the reply; `None` where there is nothing to propose from.
    pub lookup: Option<Lookup>,
    /// What the rows are for.
    pub task: Task,
    /// Where the reply goes.
    pub reply: ReplyTo,
}

impl Job {
    /// Its place in the queue: requests with lower tickets go first.
    pub fn order(&self) -> Ticket {
        self.reply.ticket()
    }
}

/// What a sequence does with its rows of logits.
#[derive(Debug)]
pub enum Task {
    /// Write free text.
    Write {
        /// Draws the tokens.
        sampler: Sampler,
        /// The most tokens to write.
        max_tokens: u32,
        /// The closing tag of a think block that the conversation ends in.
        thinking: Option<&'static str>,
    },
    /// Write a fixed shape.
    Fill {
        /// Draws the tokens in the holes.
        sampler: Sampler,
        /// Knows what may come next.
        writer: ShapeWriter,
    },
    /// Score continuations.
    Choose {
        /// The options behind what all of them begin with.
        options: Vec<Vec<u32>>,
        /// The score of each option so far.
        scores: Vec<f64>,
        /// The option whose tokens are being scored.
        current: usize,
    },
}

//! A request made ready for the worker, and where its reply goes.

use crossbeam_channel::Sender;

use crate::backend::llama::lookup::Lookup;
use crate::backend::llama::sampling::Sampler;
use crate::backend::llama::shape::ShapeWriter;
use crate::backend::{BackendError, Ticket, TicketReply};
use crate::generation::Reply;

/// Where a reply goes. Exactly one is sent: one that is dropped unsent says that the backend stopped.
#[derive(Debug)]
pub struct ReplyTo {
    ticket: Ticket,
    sender: Option<Sender<TicketReply>>,
}

impl ReplyTo {
    /// The address of the reply to `ticket`.
    pub fn new(ticket: Ticket, sender: Sender<TicketReply>) -> Self {
        Self {
            ticket,
            sender: Some(sender),
        }
    }

    /// The ticket, which also says how early the request comes.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Sends the reply. A receiver that has gone away is no error.
    pub fn send(mut self, reply: Result<Reply, BackendError>) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send((self.ticket, reply));
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send((self.ticket, Err(BackendError::Stopped)));
        }
    }
}

/// A request made ready for the worker: everything is tokenised.
#[derive(Debug)]
pub struct Job {
    /// The tokens to decode before the first row of logits is asked for.
    pub tokens: Vec<u32>,
    /// How many of them render the conversation; the others begin the reply.
    pub prompt_tokens: usize,
    /// The most tokens that may follow.
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

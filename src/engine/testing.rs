//! Small constitutions, and a backend that answers as a test says, for tests of the engine and of the judge.

use std::collections::BTreeMap;

use crossbeam_channel::Sender;

use crate::backend::{Backend, BackendError, ModelIdentity, Ticket, TicketReply};
use crate::constitution::{Constitution, Defaults, Principle, Severity, Status};
use crate::digest::Digest;
use crate::generation::{Decision, FinishReason, Generation, Message, Reply, Request, Usage};

/// What becomes of a request.
type Answer<'a> = dyn Fn(Ticket, &Request) -> Result<Reply, BackendError> + Send + Sync + 'a;

/// A backend that answers at once and by a function.
pub struct AtOnce<'a> {
    identity: ModelIdentity,
    answer: Box<Answer<'a>>,
}

impl<'a> AtOnce<'a> {
    /// It answers what `answer` gives.
    pub fn new(
        answer: impl Fn(Ticket, &Request) -> Result<Reply, BackendError> + Send + Sync + 'a,
    ) -> Self {
        Self {
            identity: ModelIdentity {
                digest: Digest::of(&"model"),
                name: "model".to_owned(),
                settings_digest: Digest::of(&"settings"),
                settings: BTreeMap::new(),
                context_length: 4096,
                chat_template: "none".to_owned(),
                metadata: BTreeMap::new(),
            },
            answer: Box::new(answer),
        }
    }
}

impl Backend for AtOnce<'_> {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn parallelism(&self) -> usize {
        4
    }

    fn count_tokens(&self, _: &[Message]) -> Result<u32, BackendError> {
        Ok(1)
    }

    fn submit(&self, ticket: Ticket, request: Request, reply: Sender<TicketReply>) {
        let _ = reply.send((ticket, (self.answer)(ticket, &request)));
    }
}

/// A reply with this text and these decisions.
pub fn written(text: impl Into<String>, decisions: Vec<Decision>) -> Reply {
    let text = text.into();
    Reply::Generated(Generation {
        raw: text.clone(),
        text,
        thinking: None,
        thinking_unclosed: false,
        finish: FinishReason::Stop,
        decisions,
        invalid_utf8: false,
        usage: Usage::default(),
    })
}

/// An active principle of weight 1.
pub fn principle(id: &str) -> Principle {
    Principle {
        id: id.to_owned(),
        title: id.to_owned(),
        critique: format!("Does the response do what {id} asks?"),
        revision: format!("Make the response do what {id} asks."),
        weight: 1.0,
        precedence: 10,
        severity: Severity::Major,
        tags: Vec::new(),
        status: Status::Active,
        rationale: String::new(),
        check: None,
        examples: Vec::new(),
        tests: Vec::new(),
    }
}

/// A constitution of such principles.
pub fn constitution(ids: &[&str]) -> Constitution {
    Constitution {
        schema: 1,
        name: "test".to_owned(),
        version: "1.0.0".to_owned(),
        description: String::new(),
        license: String::new(),
        defaults: Defaults::default(),
        principles: ids.iter().map(|id| principle(id)).collect(),
    }
}

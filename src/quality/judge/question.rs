//! One question: requests that follow each other, and the probabilities that they end in.

use std::sync::Arc;

use super::{Judge, Subject};
use crate::chain::Call;
use crate::generation::{Choose, Generate, Request};
use crate::judgement::Order;

/// Something to ask: a choice at once, or a choice after reasons.
#[derive(Clone, Debug)]
pub struct Question {
    next: Next,
    calls: Vec<Call>,
}

#[derive(Clone, Debug)]
enum Next {
    Choose(Choose),
    Reason(Generate, Box<Conclusion>),
}

/// How a choice is made of reasons.
#[derive(Clone, Debug)]
pub(super) struct Conclusion {
    pub judge: Arc<Judge>,
    pub subject: Arc<Subject>,
    pub principle: String,
    pub order: Order,
}

/// What a question came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The probability of each option; empty where the model wrote no reasons, or has no probabilities.
    pub probabilities: Vec<f64>,
    /// The model calls it took.
    pub calls: Vec<Call>,
}

impl Question {
    /// A choice at once.
    pub fn direct(choose: Choose) -> Self {
        Self {
            next: Next::Choose(choose),
            calls: Vec::new(),
        }
    }

    pub(super) fn reasoned(generate: Generate, conclusion: Conclusion) -> Self {
        Self {
            next: Next::Reason(generate, Box::new(conclusion)),
            calls: Vec::new(),
        }
    }

    /// The request that comes next.
    pub fn request(&self) -> Request {
        match &self.next {
            Next::Choose(choose) => Request::Choose(choose.clone()),
            Next::Reason(generate, _) => Request::Generate(generate.clone()),
        }
    }

    /// Takes the reply to [`request`](Self::request); the answer when that was the last one.
    ///
    /// # Errors
    ///
    /// When the next request cannot be made.
    pub(super) fn accept(&mut self, call: Call) -> Result<Option<Answer>, String> {
        let probabilities = match &self.next {
            Next::Choose(_) => {
                let decisions = call.generation.decisions.iter().map(|d| d.probability);
                let all: Vec<f64> = decisions.collect();
                match all.iter().all(|p| p.is_finite()) {
                    true => all,
                    false => Vec::new(),
                }
            }
            Next::Reason(_, conclusion) => {
                let reasons = reasons(&call);
                if !reasons.is_empty() {
                    let choose = conclusion.conclude(reasons)?;
                    self.next = Next::Choose(choose);
                    self.calls.push(call);
                    return Ok(None);
                }
                Vec::new()
            }
        };
        self.calls.push(call);
        Ok(Some(Answer {
            probabilities,
            calls: std::mem::take(&mut self.calls),
        }))
    }
}

/// What the model wrote when asked for reasons. Those of a model that thinks and then has no room left for
/// words are its thoughts.
fn reasons(call: &Call) -> &str {
    let reply = &call.generation;
    match (reply.text.trim(), &reply.thinking) {
        ("", Some(thinking)) => thinking.trim(),
        (text, _) => text,
    }
}

impl Conclusion {
    fn conclude(&self, reasons: &str) -> Result<Choose, String> {
        self.judge
            .conclude(&self.subject, &self.principle, self.order, reasons)
    }
}

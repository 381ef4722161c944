//! Chains that fail, named by file and line while the run goes on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::chain::ChainId;
use crate::cli::text::sanitize;
use crate::engine::event::Event;

use super::NAMED_ROWS;

/// Knows where the prompts of the chains in flight stand.
pub(super) struct Failures {
    /// Where the prompt of the chain stands that was handed out last; empty where it comes from a run.
    last: Rc<RefCell<String>>,
    places: HashMap<ChainId, String>,
    named: u32,
}

impl Failures {
    pub fn new(last: Rc<RefCell<String>>) -> Self {
        Self {
            last,
            places: HashMap::new(),
            named: 0,
        }
    }

    /// Takes an event. Gives the line to say, where a chain failed.
    pub fn take(&mut self, event: &Event<'_>) -> Option<String> {
        let (chain, end) = match event {
            Event::ChainBegun(start) => {
                let place = self.last.borrow().clone();
                self.places.insert(start.id.clone(), place);
                return None;
            }
            Event::ChainEnded { chain, end } => (chain, end),
            Event::ChainSkipped { .. } | Event::StepFinished { .. } => return None,
        };
        let place = self.places.remove(&chain.id).unwrap_or_default();
        let error = end.error.as_ref()?;
        self.named = self.named.saturating_add(1);
        let line = match self.named {
            ..=NAMED_ROWS if place.is_empty() => format!("failed: chain {}: {error}", chain.id.0),
            ..=NAMED_ROWS => format!("failed: {place}: {error}"),
            n if n == NAMED_ROWS + 1 => {
                "failed: more chains, which are only counted from here on".to_owned()
            }
            _ => return None,
        };
        Some(sanitize(&line).into_owned())
    }
}

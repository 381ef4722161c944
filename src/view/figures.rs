//! What the principles of a run did, which takes a while to count over many chains.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::store::{Store, StoreError};

/// The last figures, kept until the run goes on.
#[derive(Default)]
pub struct Figures(Mutex<Option<Kept>>);

struct Kept {
    run: String,
    /// The last event that the figures know of.
    event: i64,
    figures: Value,
}

impl Figures {
    /// By principle. `run` is a whole id.
    pub fn of(&self, store: &Store, run: &str) -> Result<Value, StoreError> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked first: what is written after is counted the next time.
        let event = store.last_event(Some(run))?;
        if let Some(kept) = kept().as_ref()
            && kept.run == run
            && kept.event == event
        {
            return Ok(kept.figures.clone());
        }
        // Plain data, which has a form in JSON.
        let figures = serde_json::to_value(store.principle_coverage(run)?).unwrap_or_default();
        *kept() = Some(Kept {
            run: run.to_owned(),
            event,
            figures: figures.clone(),
        });
        Ok(figures)
    }
}

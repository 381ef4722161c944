//! A recorder that keeps chains in memory: for trials of principles, which are no runs.

use std::collections::HashMap;

use super::{ChainStatus, RecordError, Recorder};
use crate::chain::{Call, ChainEnd, ChainId, ChainStart, Step};
use crate::digest::Digest;
use crate::generation::Generation;

/// What became of a chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// How it ended; `None` when it was interrupted.
    pub end: Option<ChainEnd>,
}

/// Keeps chains in memory. Replies may be looked up in another recorder and are kept there, so that
/// equal requests are asked once; chains may be kept there besides.
#[derive(Default)]
pub struct Memory<'a> {
    replies: Option<&'a mut dyn Recorder>,
    keeps_chains: bool,
    outcomes: HashMap<ChainId, Outcome>,
}

impl<'a> Memory<'a> {
    /// A memory that knows the replies of `replies` and adds to them. No run needs to be begun there.
    pub fn with_replies(replies: &'a mut dyn Recorder) -> Self {
        Self {
            replies: Some(replies),
            keeps_chains: false,
            outcomes: HashMap::new(),
        }
    }

    /// A memory that also hands chains on to `recorder`, where their run has begun. What is there already is
    /// replayed from its replies, so that it is known here too.
    pub fn keeping(recorder: &'a mut dyn Recorder) -> Self {
        Self {
            keeps_chains: true,
            ..Self::with_replies(recorder)
        }
    }

    fn keeper(&mut self) -> Option<&mut (dyn Recorder + 'a)> {
        match self.keeps_chains {
            true => self.replies.as_deref_mut(),
            false => None,
        }
    }

    /// What became of a chain; nothing is left of it here.
    pub fn take(&mut self, chain: &ChainId) -> Outcome {
        self.outcomes.remove(chain).unwrap_or_default()
    }
}

impl Recorder for Memory<'_> {
    fn status(&mut self, chain: &ChainId) -> Result<Option<ChainStatus>, RecordError> {
        let status = |outcome: &Outcome| match &outcome.end {
            None => ChainStatus::Running,
            Some(end) if end.error.is_some() => ChainStatus::Failed,
            Some(_) => ChainStatus::Done,
        };
        Ok(self.outcomes.get(chain).map(status))
    }

    fn begin_chain(&mut self, chain: &ChainStart) -> Result<(), RecordError> {
        self.outcomes.entry(chain.id.clone()).or_default();
        self.keeper()
            .map_or(Ok(()), |keeper| keeper.begin_chain(chain))
    }

    fn find_generation(&mut self, key: &Digest) -> Result<Option<Generation>, RecordError> {
        match &mut self.replies {
            Some(replies) => replies.find_generation(key),
            None => Ok(None),
        }
    }

    fn record_call(&mut self, call: &mut Call) -> Result<(), RecordError> {
        match &mut self.replies {
            Some(replies) => replies.record_call(call),
            None => Ok(()),
        }
    }

    fn record_step(&mut self, chain: &ChainId, step: &Step) -> Result<bool, RecordError> {
        let steps = &mut self.outcomes.entry(chain.clone()).or_default().steps;
        let new = steps.iter().all(|known| known.ordinal != step.ordinal);
        if new {
            steps.push(step.clone());
            if let Some(keeper) = self.keeper() {
                keeper.record_step(chain, step)?;
            }
        }
        Ok(new)
    }

    fn end_chain(&mut self, chain: &ChainId, end: &ChainEnd) -> Result<(), RecordError> {
        self.outcomes.entry(chain.clone()).or_default().end = Some(end.clone());
        self.keeper()
            .map_or(Ok(()), |keeper| keeper.end_chain(chain, end))
    }

    fn commit(&mut self) -> Result<(), RecordError> {
        match &mut self.replies {
            Some(replies) => replies.commit(),
            None => Ok(()),
        }
    }
}

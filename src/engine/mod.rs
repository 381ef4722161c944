//! The engine: keeps many chains in flight over one backend, and records every finished step.

use std::error::Error;

use crate::chain::{Call, ChainEnd, ChainId, ChainStart, Step};
use crate::digest::Digest;
use crate::generation::Generation;

/// An error of a [`Recorder`], which the engine passes on without looking inside.
pub type RecordError = Box<dyn Error + Send + Sync>;

/// Where a chain stands in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainStatus {
    /// Begun and not ended.
    Running,
    /// Ended.
    Done,
    /// Ended with an error.
    Failed,
}

/// What the engine tells the store.
///
/// Everything recorded since the last [`commit`](Recorder::commit) becomes durable with it. The engine
/// commits before it submits what follows a step. All methods are idempotent: a resumed run replays its
/// chains from the start, finds the replies that are already stored, and records the same steps again.
pub trait Recorder {
    /// Where the chain stands; `None` when it has not begun.
    fn status(&mut self, chain: &ChainId) -> Result<Option<ChainStatus>, RecordError>;

    /// Records that a chain begins. A failed chain that is begun again is running again, its error
    /// cleared and its steps kept.
    fn begin_chain(&mut self, chain: &ChainStart) -> Result<(), RecordError>;

    /// The stored reply to the request with the given content key.
    fn find_generation(&mut self, key: &Digest) -> Result<Option<Generation>, RecordError>;

    /// Records one model call, as soon as its reply is there.
    fn record_call(&mut self, call: &Call) -> Result<(), RecordError>;

    /// Records a finished step, whose calls were recorded before.
    fn record_step(&mut self, chain: &ChainId, step: &Step) -> Result<(), RecordError>;

    /// Records that a chain ended.
    fn end_chain(&mut self, chain: &ChainId, end: &ChainEnd) -> Result<(), RecordError>;

    /// Makes everything recorded so far durable.
    fn commit(&mut self) -> Result<(), RecordError>;
}

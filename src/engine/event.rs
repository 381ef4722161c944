//! What a progress display needs to know.

use crate::chain::{ChainEnd, ChainStart, Step};

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A chain was begun, or taken up again.
    ChainBegun(&'a ChainStart),
    /// A chain had ended before; it is left alone.
    ChainSkipped {
        /// Whether it had failed.
        failed: bool,
    },
    /// A step was finished.
    StepFinished {
        /// Its chain.
        chain: &'a ChainStart,
        /// The step.
        step: &'a Step,
    },
    /// A chain ended.
    ChainEnded {
        /// The chain.
        chain: &'a ChainStart,
        /// How.
        end: &'a ChainEnd,
    },
}

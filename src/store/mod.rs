//! The store: one SQLite file that remembers every run, chain and step.
//!
//! [`Writer`] is the single writer of a run and implements [`Recorder`](crate::engine::Recorder).
//! [`Store`] reads. [`Filter`] selects chains, in the same language for every command. This is the only
//! module that names `rusqlite`.

mod chain_set;
mod changes;
mod compared;
mod content;
mod detail;
mod drafts;
mod error;
mod events;
mod facets;
mod facts;
mod filter;
mod filter_key;
mod filter_sql;
mod gates;
mod judgements;
mod labels;
mod lock;
mod matching;
mod open;
mod overview;
mod page;
mod pairs;
mod query;
mod read;
mod rows;
mod scratch;
mod sorter;
mod stats;
mod test_runs;
mod traces;
mod writer;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use compared::{Compared, ComparedPair};
pub use detail::Depth;
pub use drafts::{Draft, Drafts};
pub use error::StoreError;
pub use events::{EventKind, RunEvent};
pub use facets::{Facets, LengthCount, PrincipleCount, RoundCount};
pub use facts::{ChainFacts, GatedFact, JudgementFact};
pub use filter::{Filter, FilterError};
pub use filter_key::FilterKey;
pub use filter_sql::Explanation;
pub use gates::{GATES, GateFinding, GateRecord, GatedChain, NewGating};
pub use judgements::{JudgementRow, NewJudge, PreferenceRow, Response, Responses};
pub use labels::{
    Agreement, BulkAction, CurrentLabel, Label, LabelAction, LabelEntry, LabelKind, Labels,
};
pub use lock::RunLock;
pub use overview::Overview;
pub use page::{ListPlace, ListRow, Page, PageRequest, Sort, SortKey};
pub use pairs::Paired;
pub use query::Store;
pub use rows::{
    CallDetail, ChainDetail, ChainRow, ChainState, NameCount, PrincipleStats, RunDetail, RunRow,
    RunStats, StepDetail,
};
pub use scratch::{Scratch, Shelf};
pub use sorter::{Entry, Sorted, Sorter};
pub use test_runs::{NewTestRun, TestHistory};
pub use writer::{Writer, length_ratio};

use crate::constitution::Constitution;
use crate::digest::Digest;
use crate::generation::ModelIdentity;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Begun; a process works on it, or was killed.
    Running,
    /// Stopped by the person, or by an error; `amend resume` continues it.
    Interrupted,
    /// Every chain has ended.
    Done,
}

impl RunState {
    /// The name used in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Interrupted => "interrupted",
            RunState::Done => "done",
        }
    }
}

/// A run as it begins: everything needed to understand it years later.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// Its name, chosen by the caller; the same configuration has the same name.
    pub run_id: String,
    /// Digest of what decides the run's results.
    pub fingerprint: Digest,
    /// The configuration that the fingerprint was made from, sampling included.
    pub config: Value,
    /// The resolved constitution.
    pub constitution: Constitution,
    /// The name of the prompt pack.
    pub pack_name: String,
    /// Its text.
    pub pack_text: String,
    /// Its digest.
    pub pack_digest: Digest,
    /// What the model is.
    pub model: ModelIdentity,
    /// The prompt file, as it was named.
    pub prompts_path: String,
    /// Its digest.
    pub prompts_digest: Digest,
    /// Versions of this program and its libraries.
    pub versions: Value,
    /// How it is executed: paths, threads, parallelism. Replaced when the run is begun again.
    pub execution: Value,
}

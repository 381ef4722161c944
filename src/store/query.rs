//! Reading a store.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::rows::{ChainDetail, ChainRow, PrincipleStats, RunDetail, RunRow, RunStats};
use super::{Filter, StoreError};
use crate::chain::ChainId;

/// A store that is open for reading.
pub struct Store {
    conn: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens an existing store for reading. Never makes a file.
    pub fn open_read(path: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        todo!()
    }

    /// The id of the run that begins with `prefix`.
    pub fn resolve_run(&self, prefix: &str) -> Result<String, StoreError> {
        todo!()
    }

    /// The chain whose id begins with `prefix`.
    pub fn resolve_chain(&self, prefix: &str) -> Result<ChainId, StoreError> {
        todo!()
    }

    /// Everything that is kept about a run.
    pub fn run(&self, run_id: &str) -> Result<RunDetail, StoreError> {
        todo!()
    }

    /// A whole chain.
    pub fn chain(&self, id: &ChainId) -> Result<ChainDetail, StoreError> {
        todo!()
    }

    /// Hands out the matching chains by run and position, one at a time, until `each` breaks. `run` is
    /// a whole run id. Other reads, such as [`chain`](Self::chain), may be made meanwhile.
    pub fn for_each_chain<B>(
        &self,
        filter: &Filter,
        run: Option<&str>,
        each: impl FnMut(ChainRow) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, StoreError> {
        todo!()
    }

    /// How many chains match.
    pub fn count(&self, filter: &Filter, run: Option<&str>) -> Result<u64, StoreError> {
        todo!()
    }

    /// Figures per principle over the matching chains, by principle id.
    pub fn principle_stats(
        &self,
        filter: &Filter,
        run: Option<&str>,
    ) -> Result<Vec<PrincipleStats>, StoreError> {
        todo!()
    }

    /// Figures per run over the matching chains, oldest run first.
    pub fn run_stats(
        &self,
        filter: &Filter,
        run: Option<&str>,
    ) -> Result<Vec<RunStats>, StoreError> {
        todo!()
    }
}

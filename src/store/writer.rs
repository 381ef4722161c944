//! The single writer of a run.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{NewRun, RunState, StoreError};

/// Writes one run.
pub struct Writer {
    conn: Connection,
    path: PathBuf,
}

impl Writer {
    /// Opens a store for writing; makes it when it does not exist, and brings an older schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// Records that a run begins, or is begun again, and makes it the one that is written. Durable at once.
    pub fn begin_run(&mut self, run: &NewRun) -> Result<(), StoreError> {
        todo!()
    }

    /// Records where the current run stands. Durable at once.
    pub fn set_run_state(&mut self, state: RunState) -> Result<(), StoreError> {
        todo!()
    }
}

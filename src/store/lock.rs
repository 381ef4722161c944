//! One process per run.

use std::path::Path;

use super::StoreError;

/// Held while a process works on a run; given back when dropped.
#[derive(Debug)]
pub struct RunLock {}

impl RunLock {
    /// Takes the lock `<db>-<key>.lock` beside the store.
    pub fn acquire(db_path: &Path, key: &str) -> Result<Self, StoreError> {
        todo!()
    }
}

//! Why a dataset was not written.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::store::StoreError;

/// Why a dataset was not written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The output is not a folder.
    #[error("{} is a file; name a folder with --out", .0.display())]
    NotAFolder(PathBuf),
    /// The folder holds files that an export did not write, or that were changed since.
    #[error("{} holds files that amend did not write: {names}; name another folder with --out, or write there with --force", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Their names.
        names: String,
    },
    /// The options do not go together.
    #[error("{0}")]
    Options(String),
    /// The file of general data cannot be used.
    #[error("{}: {reason}", path.display())]
    Replay {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// No chain gave a row; nothing was written.
    #[error("no row to write: {0}")]
    NoRows(String),
}

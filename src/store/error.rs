//! What can go wrong with a store, said with the file and the remedy.

use std::path::{Path, PathBuf};

use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::{Error, ErrorCode};

use super::filter::FilterError;

/// Why a store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no file to read.
    #[error("no store at {}; `amend run` makes one", .0.display())]
    Missing(PathBuf),
    /// The path is a folder.
    #[error("{} is a folder, and a store is a file; name one with --db", .0.display())]
    IsFolder(PathBuf),
    /// The path is a named pipe.
    #[error("{} is a pipe, and a store is a file; name one with --db", .0.display())]
    IsPipe(PathBuf),
    /// The file is there and cannot be opened.
    #[error("cannot open {}: {reason}; check that the file and its folder can be read and written", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// What SQLite or the system said.
        reason: String,
    },
    /// The file is something else.
    #[error("{} is not an SQLite database; name another file with --db", .0.display())]
    NotSqlite(PathBuf),
    /// The file is an empty database.
    #[error("{} holds no store yet; `amend run` makes one", .0.display())]
    Empty(PathBuf),
    /// The file belongs to another program.
    #[error("{} is an SQLite database, but not a store of amend; name another file with --db", .0.display())]
    Foreign(PathBuf),
    /// The file was written by a later version of this program.
    #[error("{} has schema {found}, and this amend knows schemas up to {known}; use a newer amend", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// The file cannot be written.
    #[error("{} is read-only; make the file and its folder writable, or name another with --db", .0.display())]
    ReadOnly(PathBuf),
    /// There is no room left.
    #[error("no room left while writing {}; free some disk space and run `amend resume`: what was committed is kept", .0.display())]
    DiskFull(PathBuf),
    /// The system could not read or write the file.
    #[error("cannot read or write {}: {reason}; check the disk and its limits, then run `amend resume`: what was committed is kept", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// What is too much for memory could not be put into a temporary file.
    #[error(
        "cannot use a temporary file: {0}; free some disk space, or name another folder for it with SQLITE_TMPDIR"
    )]
    Scratch(String),
    /// Another process held the file for too long.
    #[error("{} is locked by another process; try again when it is done", .0.display())]
    Busy(PathBuf),
    /// The file is damaged, or was changed by hand.
    #[error("{} is damaged: {what}; restore it from a copy, or try `sqlite3 {} .recover`", path.display(), path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Any other error of SQLite.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Error,
    },
    /// No run or chain has such an id.
    #[error("no {what} `{id}` in {}{hint}", path.display())]
    Unknown {
        /// `run` or `chain`.
        what: &'static str,
        /// What was asked for.
        id: String,
        /// The file.
        path: PathBuf,
        /// Candidates, or the command that lists them, ready to be appended.
        hint: String,
    },
    /// More than one run or chain begins like this.
    #[error("{what} `{prefix}` is ambiguous in {}: {candidates}", path.display())]
    Ambiguous {
        /// `run` or `chain`.
        what: &'static str,
        /// What was asked for.
        prefix: String,
        /// The file.
        path: PathBuf,
        /// What it could mean, separated by commas.
        candidates: String,
    },
    /// Another process has the run.
    #[error("another process{pid} is running {key}; wait for it, or stop it first (lock file {})", lock.display())]
    Locked {
        /// What is locked.
        key: String,
        /// ` (pid N)`, or empty when it is not known.
        pid: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The lock file cannot be made.
    #[error("cannot lock {}: {source}; check that its folder can be written", path.display())]
    CannotLock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A run of this name is there, with another configuration.
    #[error("run {run_id} in {} was begun with another configuration; choose another --db", path.display())]
    RunDiffers {
        /// The run.
        run_id: String,
        /// The file.
        path: PathBuf,
    },
    /// Something was recorded out of order: a fault of the caller.
    #[error("{}: recorded out of order: {what}", path.display())]
    OutOfOrder {
        /// The file.
        path: PathBuf,
        /// What was missing.
        what: String,
    },
    /// A label that cannot be given.
    #[error("{0}")]
    Label(String),
    /// A filter that cannot be read.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl StoreError {
    /// Whether what the person named is at fault: a file that is no store, an id or a filter that does not fit.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            StoreError::Missing(_)
                | StoreError::Empty(_)
                | StoreError::IsFolder(_)
                | StoreError::IsPipe(_)
                | StoreError::NotSqlite(_)
                | StoreError::Foreign(_)
                | StoreError::NewerSchema { .. }
                | StoreError::RunDiffers { .. }
                | StoreError::Unknown { .. }
                | StoreError::Ambiguous { .. }
                | StoreError::Label(_)
                | StoreError::Filter(_)
        )
    }

    /// Names the file in an error of SQLite, and the remedy where there is one.
    pub(super) fn sqlite(path: &Path, error: Error) -> Self {
        let path = path.to_owned();
        // Values that do not fit their Rust types come from outside: the writer writes no such rows.
        if matches!(
            error,
            Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::Utf8Error(..)
        ) {
            return StoreError::Corrupt {
                path,
                what: error.to_string(),
            };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => StoreError::NotSqlite(path),
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly(path),
            Some(ErrorCode::DiskFull) => StoreError::DiskFull(path),
            // The index of the log, which stands beside the store, finds no room to grow.
            Some(ErrorCode::SystemIoFailure)
                if error.sqlite_extended_error_code() == Some(SQLITE_IOERR_SHMSIZE) =>
            {
                StoreError::DiskFull(path)
            }
            Some(ErrorCode::SystemIoFailure) => StoreError::Disk {
                path,
                reason: error.to_string(),
            },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(path),
            Some(ErrorCode::DatabaseCorrupt) => StoreError::Corrupt {
                path,
                what: error.to_string(),
            },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => StoreError::CannotOpen {
                path,
                reason: error.to_string(),
            },
            _ => StoreError::Sqlite {
                path,
                source: error,
            },
        }
    }
}

//! What can go wrong between a reference and a file, each with its remedy.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a reference does not lead to a file.
#[derive(Debug, Error)]
pub enum ModelRefError {
    /// The reference is not written as one.
    #[error("`{text}` is no model reference: {detail}")]
    Reference {
        /// What was written.
        text: String,
        /// What is wrong, and how to write it.
        detail: String,
    },
    /// There is no file at the path.
    #[error("model file {} does not exist{hint}", .path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What may have been meant.
        hint: String,
    },
    /// The default model is not there, or is not the right file.
    #[error(
        "the default model {problem}; get it with `make model` or `scripts/fetch-model`, or name another model with --model"
    )]
    Default {
        /// What is wrong, with the path.
        problem: String,
    },
    /// Not in the cache, and the network may not be used.
    #[error("{what} is not in the cache {}{present}; run `amend model fetch {what}` without --offline", .cache.display())]
    Offline {
        /// The reference.
        what: String,
        /// The Hub cache.
        cache: PathBuf,
        /// What the cache has of this repository.
        present: String,
    },
    /// The Hub does not know the repository or its revision.
    #[error("{endpoint} has no model repository {repo}; check owner, name and revision")]
    NoSuchRepo {
        /// The Hub.
        endpoint: String,
        /// The repository, with its revision where one was given.
        repo: String,
    },
    /// The repository does not have what was asked for, or has it more than once.
    #[error("{repo} {problem}{}", list(.files))]
    NoSuchFile {
        /// The repository.
        repo: String,
        /// What is wrong, and how to ask.
        problem: String,
        /// The GGUF files to choose from.
        files: Vec<String>,
    },
    /// The Hub refuses access.
    #[error("{endpoint} refuses access to {repo} (HTTP {status}): {remedy}")]
    Denied {
        /// The Hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// 401 or 403.
        status: u16,
        /// What to do.
        remedy: String,
    },
    /// No connection.
    #[error(
        "cannot reach {endpoint}: {detail}; check the network and HF_ENDPOINT, or use --offline with a cached model"
    )]
    Unreachable {
        /// The Hub.
        endpoint: String,
        /// What the system said.
        detail: String,
    },
    /// The server failed or answered what cannot be used.
    #[error("{url}: {detail}")]
    Server {
        /// What was asked for.
        url: String,
        /// What came back.
        detail: String,
    },
    /// The connection broke too often.
    #[error("the download of {file} was cut after {got} bytes{}: {detail}; run the command again to continue it", of(*.size))]
    Cut {
        /// File within its repository.
        file: String,
        /// Bytes on disk.
        got: u64,
        /// Bytes of the whole file.
        size: Option<u64>,
        /// The last failure.
        detail: String,
    },
    /// The bytes are not the ones that the Hub announced.
    #[error(
        "{file} was downloaded with the wrong {what} ({found} instead of {expected}) and was removed; run the command again, and if it stays so do not use this source"
    )]
    Corrupt {
        /// File within its repository.
        file: String,
        /// `size` or `SHA-256`.
        what: &'static str,
        /// As announced.
        expected: String,
        /// As received.
        found: String,
    },
    /// The cache cannot be read or written.
    #[error("cannot use {}: {source}{}", .path.display(), disk_remedy(.source))]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A setting of the environment cannot be used.
    #[error("{0}")]
    Setting(String),
}

impl ModelRefError {
    /// True when the person has to change the command or supply a file; false when network, server or
    /// disk failed.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::Reference { .. }
                | Self::Missing { .. }
                | Self::Default { .. }
                | Self::Offline { .. }
                | Self::NoSuchRepo { .. }
                | Self::NoSuchFile { .. }
                | Self::Setting(_)
        )
    }

    pub(super) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Disk {
            path: path.to_owned(),
            source,
        }
    }
}

fn list(files: &[String]) -> String {
    const SHOWN: usize = 40;
    let mut text = String::new();
    if !files.is_empty() {
        text.push_str("; it has:");
    }
    for file in files.iter().take(SHOWN) {
        text.push_str("\n  ");
        text.extend(file.chars().flat_map(char::escape_debug));
    }
    if files.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", files.len() - SHOWN));
    }
    text
}

fn of(size: Option<u64>) -> String {
    size.map_or_else(String::new, |size| format!(" of {size}"))
}

fn disk_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, or set HF_HUB_CACHE to a folder on another disk (a download continues where it stopped only in the same folder)"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; set HF_HUB_CACHE to a folder that you may write"
        }
        _ => "",
    }
}

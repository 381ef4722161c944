//! From what a person writes after `--model` to a file on disk.
//!
//! A model is a path, `default`, or a file of a repository on the Hugging Face Hub. Hub files live in
//! the Hub's own cache layout (`models--owner--repo/{blobs,refs,snapshots}`), which other programs share.

mod config;
mod error;
mod fetch;
mod http;
mod hub;
mod pick;
mod reference;
mod snapshot;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use config::{HubConfig, cache_dir};
pub use error::ModelRefError;
pub use pick::split_parts;
pub use reference::ModelRef;
pub use snapshot::{CachedModel, cached_models};

use hub::Hub;
use pick::PickError;
use snapshot::Snapshots;

/// File name of the default model.
pub const DEFAULT_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Size of the default model, in bytes.
pub const DEFAULT_SIZE: u64 = 98_362_432;
/// SHA-256 of the default model.
pub const DEFAULT_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// What happens while a model is fetched.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A file's download begins or continues.
    Started {
        /// File within its repository.
        name: String,
        /// Size of the whole file in bytes, where the server tells it.
        total: Option<u64>,
        /// Bytes that were already there.
        done: u64,
    },
    /// Bytes of the current file on disk.
    Advanced {
        /// Bytes from the start of the file.
        done: u64,
    },
    /// An attempt failed and is made again.
    Retrying {
        /// What failed.
        reason: String,
        /// Time until the next attempt.
        wait: Duration,
    },
    /// The current file is complete and verified.
    Finished {
        /// File within its repository.
        name: String,
    },
    /// Something that a person should know.
    Notice(String),
}

/// How a reference is resolved.
pub struct ResolveOptions<'a> {
    /// Use nothing but what is on disk.
    pub offline: bool,
    /// Ask the Hub even when the file is in the cache; an unchanged file is not downloaded again.
    pub refresh: bool,
    /// Where the Hub and its cache are.
    pub hub: HubConfig,
    /// Amend's own cache folder, which holds the default model; see [`cache_dir`].
    pub cache_dir: Option<PathBuf>,
    /// Told what happens.
    pub progress: &'a mut dyn FnMut(Progress),
}

impl<'a> ResolveOptions<'a> {
    /// Options as the environment gives them.
    pub fn from_env(offline: bool, progress: &'a mut dyn FnMut(Progress)) -> Self {
        let hub = HubConfig::from_env();
        Self {
            offline: offline || hub.offline,
            refresh: false,
            hub,
            cache_dir: cache_dir(),
            progress,
        }
    }
}

/// Finds the file that a reference means, fetching it where necessary. Of a split model all parts are
/// fetched and the first one's path is given.
///
/// A Hub file that names its file or its quantisation is taken from the cache without asking the network.
///
/// # Errors
/// [`ModelRefError`]; what had been downloaded until then stays on disk and is continued next time.
pub fn resolve(
    reference: &ModelRef,
    options: &mut ResolveOptions<'_>,
) -> Result<PathBuf, ModelRefError> {
    match reference {
        ModelRef::Path(path) => existing(path),
        ModelRef::Default => default_model(options.cache_dir.as_deref()),
        ModelRef::Hub { .. } => resolve_hub(reference, options),
    }
}

fn existing(path: &Path) -> Result<PathBuf, ModelRefError> {
    match fs::metadata(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Err(ModelRefError::Missing {
                path: path.to_owned(),
                hint: reference::hint(path),
            })
        }
        Err(source) => Err(ModelRefError::disk(path)(source)),
    }
}

fn default_model(cache: Option<&Path>) -> Result<PathBuf, ModelRefError> {
    let problem = |problem: String| ModelRefError::Default { problem };
    let cache = cache.ok_or_else(|| {
        problem("has no place, as neither AMEND_CACHE, XDG_CACHE_HOME nor HOME is set".to_owned())
    })?;
    let path = cache.join("models").join(DEFAULT_FILE);
    match fs::metadata(&path) {
        Ok(found) if found.len() == DEFAULT_SIZE => Ok(path),
        Ok(found) => Err(problem(format!(
            "at {} has {} bytes instead of {DEFAULT_SIZE}",
            path.display(),
            found.len()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(problem(format!("is not at {}", path.display())))
        }
        Err(source) => Err(ModelRefError::disk(&path)(source)),
    }
}

fn resolve_hub(
    reference: &ModelRef,
    options: &mut ResolveOptions<'_>,
) -> Result<PathBuf, ModelRefError> {
    let ModelRef::Hub {
        repo,
        quant,
        file,
        revision,
    } = reference
    else {
        // `resolve` sends only Hub references here.
        return existing(Path::new(&reference.to_string()));
    };
    let snapshots = Snapshots::new(&options.hub.cache, repo, revision.as_deref());
    let cached = snapshots.find(file.as_deref(), quant.as_deref());
    if options.offline {
        return cached.ok_or_else(|| ModelRefError::Offline {
            what: reference.to_string(),
            cache: options.hub.cache.clone(),
            present: match snapshots.names() {
                names if names.is_empty() => String::new(),
                names => format!(" (which has {})", names.join(", ")),
            },
        });
    }
    let exact = file.is_some() || quant.is_some();
    if let Some(path) = cached.as_ref().filter(|_| exact && !options.refresh) {
        return Ok(path.clone());
    }
    let hub = Hub::new(&options.hub, repo, snapshots.revision())?;
    let wanted = wanted(&hub, file.as_deref(), quant.as_deref(), options);
    let fetched = wanted.and_then(|(names, commit)| {
        fetch::fetch_all(&hub, &snapshots, &names, commit, options.progress)
    });
    match (fetched, cached) {
        // As without a network: what is there will do.
        (Err(error @ ModelRefError::Unreachable { .. }), Some(path)) => {
            (options.progress)(Progress::Notice(format!("{error}; using the cached file")));
            Ok(path)
        }
        (fetched, _) => fetched,
    }
}

/// The files to fetch, and the commit that lists them where the repository was asked.
fn wanted(
    hub: &Hub,
    file: Option<&str>,
    quant: Option<&str>,
    options: &mut ResolveOptions<'_>,
) -> Result<(Vec<String>, Option<String>), ModelRefError> {
    if let Some(file) = file {
        return Ok((pick::split_names(file), None));
    }
    let listing = hub.list(options.progress)?;
    let first = pick::pick(&listing.files, quant).map_err(|error| {
        let problem = match (&error, quant) {
            (PickError::Absent(files), _) if files.is_empty() => {
                "has no GGUF file; look for a repository whose name ends in -GGUF".to_owned()
            }
            (PickError::Absent(_), quant) => format!(
                "has no {} model; ask for one of its files as hf:owner/repo:QUANT",
                quant.unwrap_or("GGUF")
            ),
            (PickError::Ambiguous(_), _) => {
                "has several that fit; ask for one as hf:owner/repo/FILE".to_owned()
            }
        };
        let (PickError::Absent(files) | PickError::Ambiguous(files)) = error;
        ModelRefError::NoSuchFile {
            repo: hub.repo().to_owned(),
            problem,
            files,
        }
    })?;
    Ok((pick::split_names(&first), Some(listing.commit)))
}

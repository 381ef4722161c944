//! The digest of a model file.
//!
//! A model of several gigabytes takes seconds to hash, so the result is remembered in the cache folder
//! under the file's path, size and modification time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::GgufError;
use crate::backend::llama::model_ref::{cache_dir, split_parts};
use crate::digest::Digest;

/// Read and hashed at a time: enough for every core to have work.
const CHUNK: usize = 16 << 20;

/// A file changed less than this ago may change again without a new time stamp.
const SETTLED: Duration = Duration::from_secs(2);

/// What is remembered of a hashed file.
#[derive(Serialize, Deserialize)]
struct Entry {
    stamp: Vec<Stamp>,
    digest: Digest,
}

/// What decides whether a file is still the one that was hashed.
#[derive(PartialEq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    size: u64,
    mtime_ns: u64,
}

/// BLAKE3 of a model file, or of all parts of a split model one after the other, as `cat parts | b3sum`
/// would give. Remembered in amend's cache folder.
///
/// # Errors
/// When a file is missing or cannot be read. A cache that cannot be used is no error.
pub fn digest(path: &Path) -> Result<Digest, GgufError> {
    digest_with_cache(path, cache_dir().as_deref())
}

/// As [`digest`], with the cache folder given; `None` remembers nothing.
///
/// # Errors
/// As [`digest`].
pub fn digest_with_cache(path: &Path, cache: Option<&Path>) -> Result<Digest, GgufError> {
    let parts = split_parts(path);
    let mut stamps = Vec::with_capacity(parts.len());
    for part in &parts {
        stamps.push(stamp(part).map_err(|e| at(part, e))?);
    }
    let store = cache.map(|cache| cache.join("digests").join(key(&stamps)));
    if let Some(known) = store.as_deref().and_then(|store| recall(store, &stamps)) {
        return Ok(known);
    }
    let mut hasher = blake3::Hasher::new();
    for part in &parts {
        update(&mut hasher, part).map_err(|e| at(part, e))?;
    }
    let digest = Digest::from_hash(hasher.finalize());
    if let Some(store) = store.filter(|_| settled(&stamps)) {
        let entry = Entry {
            stamp: stamps,
            digest: digest.clone(),
        };
        if let Err(error) = remember(&store, &entry) {
            tracing::debug!(path = %store.display(), %error, "the digest is not remembered");
        }
    }
    Ok(digest)
}

fn at(path: &Path, source: io::Error) -> GgufError {
    match source.kind() {
        io::ErrorKind::NotFound => GgufError::Missing(path.to_owned()),
        io::ErrorKind::IsADirectory => GgufError::NotAFile(path.to_owned()),
        _ => GgufError::Io {
            path: path.to_owned(),
            source,
        },
    }
}

fn update(hasher: &mut blake3::Hasher, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = Vec::with_capacity(CHUNK);
    loop {
        buffer.clear();
        if file.by_ref().take(CHUNK as u64).read_to_end(&mut buffer)? == 0 {
            return Ok(());
        }
        hasher.update_rayon(&buffer);
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let since = metadata.modified()?.duration_since(UNIX_EPOCH);
    Ok(Stamp {
        path: fs::canonicalize(path)?,
        size: metadata.len(),
        mtime_ns: since.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
    })
}

fn settled(stamps: &[Stamp]) -> bool {
    let limit = SystemTime::now()
        .checked_sub(SETTLED)
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(0));
    stamps.iter().all(|stamp| stamp.mtime_ns < limit)
}

fn key(stamps: &[Stamp]) -> String {
    let paths: Vec<_> = stamps
        .iter()
        .map(|stamp| stamp.path.to_string_lossy())
        .collect();
    format!("{}.json", Digest::of(&paths).id(24))
}

fn recall(store: &Path, stamps: &[Stamp]) -> Option<Digest> {
    let entry: Entry = serde_json::from_slice(&fs::read(store).ok()?).ok()?;
    (entry.stamp == stamps).then_some(())?;
    // Checked again, as the file could have been edited.
    Digest::parse(entry.digest.as_str())
}

fn remember(store: &Path, entry: &Entry) -> io::Result<()> {
    let text = serde_json::to_vec(entry)?;
    if let Some(folder) = store.parent() {
        fs::create_dir_all(folder)?;
    }
    // Written aside and renamed, so that a reader never sees half of it.
    let aside = store.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&aside, text)?;
    fs::rename(&aside, store).inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })
}

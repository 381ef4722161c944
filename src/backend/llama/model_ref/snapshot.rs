//! The Hub's cache on disk: `models--owner--repo/{blobs,refs,snapshots}`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::ModelRefError;
use super::pick;

/// A model in the Hub's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    /// How to name it after `--model`.
    pub reference: String,
    /// Its file, the first one of a split model.
    pub path: PathBuf,
    /// Size of all its parts, in bytes.
    pub size: u64,
}

/// One repository in the cache, at one revision.
pub(super) struct Snapshots {
    cache: PathBuf,
    folder: PathBuf,
    repo: CacheRepo,
    revision: String,
    any_snapshot: bool,
}

impl Snapshots {
    /// The repository at a revision; without one at `main`, or whatever snapshot holds the file.
    pub(super) fn new(cache: &Path, repo: &str, revision: Option<&str>) -> Self {
        let name = revision.unwrap_or("main").to_owned();
        let hub_repo = Repo::with_revision(repo.to_owned(), RepoType::Model, name.clone());
        Self {
            cache: cache.to_owned(),
            folder: cache.join(hub_repo.folder_name()),
            repo: Cache::new(cache.to_owned()).repo(hub_repo),
            revision: name,
            any_snapshot: revision.is_none(),
        }
    }

    pub(super) fn revision(&self) -> &str {
        &self.revision
    }

    /// The first file of a model of which every part is there.
    pub(super) fn find(&self, file: Option<&str>, quant: Option<&str>) -> Option<PathBuf> {
        self.snapshots().into_iter().find_map(|snapshot| {
            let first = match file {
                Some(file) => pick::split_names(file).into_iter().next()?,
                None => pick::pick(&files(&snapshot), quant).ok()?,
            };
            complete(&snapshot, &first).then(|| snapshot.join(first))
        })
    }

    /// The models that are there, as file names within the repository.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for snapshot in self.snapshots() {
            names.extend(pick::models(&files(&snapshot)));
        }
        names.into_iter().collect()
    }

    /// Snapshot folders in the order in which they are searched.
    fn snapshots(&self) -> Vec<PathBuf> {
        let root = self.folder.join("snapshots");
        let mut found = Vec::new();
        if let Ok(commit) = fs::read_to_string(self.folder.join("refs").join(&self.revision)) {
            let commit = commit.trim();
            if is_commit(commit) {
                found.push(root.join(commit));
            }
        }
        found.push(root.join(&self.revision));
        if self.any_snapshot {
            let mut others: Vec<(SystemTime, PathBuf)> = fs::read_dir(&root)
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
                .filter(|(_, path)| !found.contains(path))
                .collect();
            others.sort();
            found.extend(others.into_iter().rev().map(|(_, path)| path));
        }
        found.retain(|path| path.is_dir());
        found
    }

    /// Where the bytes with an etag lie.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.repo.blob_path(etag)
    }

    /// The lock that downloaders of a blob share, also with the Hub's own tools.
    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        let folder = self.folder.file_name().unwrap_or_default();
        let locks = self.cache.join(".locks").join(folder);
        locks.join(format!("{etag}.lock"))
    }

    /// Lets `snapshots/<commit>/<name>` point to a blob.
    pub(super) fn link(
        &self,
        commit: &str,
        name: &str,
        etag: &str,
    ) -> Result<PathBuf, ModelRefError> {
        let pointer = self.repo.pointer_path(commit).join(name);
        let blob = self.blob(etag);
        let canonical = fs::canonicalize(&blob).map_err(ModelRefError::disk(&blob))?;
        if fs::canonicalize(&pointer).is_ok_and(|target| target == canonical) {
            return Ok(pointer);
        }
        let make = |aside: &Path| place(name, etag, &blob, aside);
        replace(&pointer, make).map_err(ModelRefError::disk(&pointer))?;
        Ok(pointer)
    }

    /// Lets the revision point to a commit.
    pub(super) fn set_ref(&self, commit: &str) -> Result<(), ModelRefError> {
        if self.revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(&self.revision);
        if fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        replace(&path, |aside| fs::write(aside, commit)).map_err(ModelRefError::disk(&path))
    }
}

/// Makes a file aside and renames it, so that other processes see the old one or the new one.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.{}-{count}", process::id()));
    make(&aside)?;
    fs::rename(&aside, path).inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })
}

#[cfg(unix)]
fn place(name: &str, etag: &str, _blob: &Path, pointer: &Path) -> io::Result<()> {
    // Relative, so that a cache can be moved: from snapshots/<commit>/ and the name's own folders.
    let mut target = PathBuf::from("../..");
    for _ in 1..name.split('/').count() {
        target.push("..");
    }
    target.push("blobs");
    target.push(etag);
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(not(unix))]
fn place(_name: &str, _etag: &str, blob: &Path, pointer: &Path) -> io::Result<()> {
    // Symbolic links need a privilege on some systems.
    fs::hard_link(blob, pointer).or_else(|_| fs::copy(blob, pointer).map(|_| ()))
}

/// A commit may become the name of a folder.
pub(super) fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn complete(snapshot: &Path, first: &str) -> bool {
    pick::split_names(first)
        .iter()
        .all(|name| snapshot.join(name).is_file())
}

/// The GGUF files of a snapshot whose bytes are there, as names within the repository.
fn files(snapshot: &Path) -> Vec<String> {
    const DEPTH: usize = 4;
    let mut found = Vec::new();
    let mut folders = vec![(snapshot.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = entry.path();
            if path.is_dir() {
                if depth < DEPTH {
                    folders.push((path, format!("{prefix}{name}/"), depth + 1));
                }
            } else if name.to_ascii_lowercase().ends_with(".gguf") && path.is_file() {
                found.push(format!("{prefix}{name}"));
            }
        }
    }
    found
}

/// All complete models in a Hub cache, sorted by reference. A cache that does not exist is empty.
pub fn cached_models(cache: &Path) -> Vec<CachedModel> {
    let mut models = Vec::new();
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(repo) = name.to_str().and_then(|name| name.strip_prefix("models--")) else {
            continue;
        };
        // Neither owner nor name can hold two dashes.
        let repo = repo.replace("--", "/");
        let snapshots = Snapshots::new(cache, &repo, None);
        for name in snapshots.names() {
            let Some(path) = snapshots.find(Some(&name), None) else {
                continue;
            };
            let size = pick::split_parts(&path)
                .iter()
                .filter_map(|part| Some(fs::metadata(part).ok()?.len()))
                .sum();
            models.push(CachedModel {
                reference: format!("hf:{repo}/{name}"),
                path,
                size,
            });
        }
    }
    models.sort_by(|a, b| a.reference.cmp(&b.reference));
    models
}

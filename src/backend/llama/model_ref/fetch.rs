//! Brings files of a repository into the cache: resumed after a cut, verified before they get their name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use ureq::http::{HeaderMap, StatusCode};

use super::http::{Failure, Remote, header, server};
use super::hub::Hub;
use super::snapshot::Snapshots;
use super::{ModelRefError, Progress, pick};

/// A cut after this many new bytes is not counted as an attempt: the download is getting on.
const GETTING_ON: u64 = 1 << 20;

/// Fetches files and gives the first one's path. `commit` is the one that listed them.
pub(super) fn fetch_all(
    hub: &Hub,
    snapshots: &Snapshots,
    names: &[String],
    mut commit: Option<String>,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, ModelRefError> {
    let mut first = None;
    for name in names {
        let Some(remote) = hub.head(name, commit.as_deref(), progress)? else {
            return Err(absent(hub, name, progress));
        };
        // All parts come from one commit, also when the repository changes meanwhile.
        let at = match commit.take().or_else(|| remote.commit.clone()) {
            Some(at) => at,
            None => hub.list(progress)?.commit,
        };
        let path = fetch(hub, snapshots, name, &at, &remote, progress)?;
        progress(Progress::Finished { name: name.clone() });
        commit = Some(at);
        first.get_or_insert(path);
    }
    if let Some(commit) = commit {
        snapshots.set_ref(&commit)?;
    }
    first.ok_or_else(|| absent(hub, "", progress))
}

/// Says what a repository has instead of a file; or that there is no such repository.
fn absent(hub: &Hub, name: &str, progress: &mut dyn FnMut(Progress)) -> ModelRefError {
    match hub.list(progress) {
        Ok(listing) => ModelRefError::NoSuchFile {
            repo: hub.repo().to_owned(),
            problem: format!("has no file {name}"),
            files: pick::models(&listing.files),
        },
        Err(error) => error,
    }
}

fn fetch(
    hub: &Hub,
    snapshots: &Snapshots,
    name: &str,
    commit: &str,
    remote: &Remote,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, ModelRefError> {
    let blob = snapshots.blob(&remote.etag);
    if !is_whole(&blob, remote) {
        let lock = lock(&snapshots.lock(&remote.etag), name, progress)?;
        // Another process may have fetched it while this one waited.
        if !is_whole(&blob, remote) {
            download(hub, name, commit, remote, &blob, progress)?;
        }
        drop(lock);
    }
    snapshots.link(commit, name, &remote.etag)
}

/// A blob gets its name after it was verified; the size shows what others may have left there.
fn is_whole(blob: &Path, remote: &Remote) -> bool {
    fs::metadata(blob)
        .is_ok_and(|found| found.is_file() && remote.size.is_none_or(|size| size == found.len()))
}

fn lock(
    path: &Path,
    name: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<File, ModelRefError> {
    let open = || -> io::Result<File> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
    };
    let file = open().map_err(ModelRefError::disk(path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress(Progress::Notice(format!(
                "another process is fetching {name}; waiting for it"
            )));
            file.lock().map_err(ModelRefError::disk(path))?;
        }
        // Some network file systems have no locks; two downloads at once then only waste time, as what
        // they write is verified.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(ModelRefError::disk(path)(error)),
    }
    Ok(file)
}

fn download(
    hub: &Hub,
    name: &str,
    commit: &str,
    remote: &Remote,
    blob: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ModelRefError> {
    // The name that the Hub's own tools use, so that either continues what the other began.
    let path = blob.with_file_name(format!("{}.incomplete", remote.etag));
    let mut part = Partial::open(&path).map_err(ModelRefError::disk(&path))?;
    if remote.size.is_some_and(|size| part.len > size) {
        part.restart().map_err(ModelRefError::disk(&path))?;
    }
    progress(Progress::Started {
        name: name.to_owned(),
        total: remote.size,
        done: part.len,
    });
    let mut failures = 0;
    let mut furthest = part.len;
    while let Err(failure) = attempt(hub, name, commit, remote, &mut part, progress) {
        let error = match failure {
            Failure::Lasting(error) => return Err(error),
            Failure::Passing(error) => error,
        };
        if part.len >= furthest.saturating_add(GETTING_ON) {
            failures = 0;
        }
        furthest = furthest.max(part.len);
        failures += 1;
        if failures >= hub.attempts() {
            return Err(error);
        }
        hub.pause(failures, &error, progress);
    }
    part.verify(name, remote)?;
    let finish = || -> io::Result<()> {
        part.file.sync_all()?;
        fs::rename(&path, blob)
    };
    finish().map_err(ModelRefError::disk(blob))
}

/// One request for what is missing of the file.
fn attempt(
    hub: &Hub,
    name: &str,
    commit: &str,
    remote: &Remote,
    part: &mut Partial,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Failure> {
    if part.len > 0 && remote.size == Some(part.len) {
        return Ok(());
    }
    let response = hub.get(name, Some(commit), part.len)?;
    let url = || hub.url(name, Some(commit));
    let continues = response.status() == StatusCode::PARTIAL_CONTENT
        && range_start(response.headers()) == Some(part.len);
    if part.len > 0 && !continues {
        // A server without ranges sends the whole file.
        part.restart().map_err(|e| part.disk(e))?;
        if response.status() != StatusCode::OK {
            let detail = "the server sent another range than the one asked for";
            return Err(Failure::Passing(server(&url(), detail)));
        }
    } else if part.len == 0 && response.status() != StatusCode::OK {
        return Err(server(&url(), "the server sent a range that was not asked for").into());
    }
    let announced = header(response.headers(), CONTENT_LENGTH.as_str())
        .and_then(|length| length.parse::<u64>().ok())
        .map(|length| part.len.saturating_add(length));
    let size = remote.size.or(announced);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    let cut = loop {
        match body.read(&mut buffer) {
            Ok(0) => break "the connection was closed".to_owned(),
            Ok(count) => {
                part.append(&buffer[..count]).map_err(|e| part.disk(e))?;
                progress(Progress::Advanced { done: part.len });
                // Not a byte more than announced is written.
                if size.is_some_and(|size| part.len > size) {
                    break String::new();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break error.to_string(),
        }
    };
    match size {
        Some(size) if part.len < size => Err(Failure::Passing(ModelRefError::Cut {
            file: name.to_owned(),
            got: part.len,
            size: Some(size),
            detail: cut,
        })),
        _ => Ok(()),
    }
}

fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = header(headers, CONTENT_RANGE.as_str())?;
    let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}

/// A file on its way, with the digest of what is there.
struct Partial {
    path: PathBuf,
    file: File,
    len: u64,
    sha256: Sha256,
}

impl Partial {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut sha256 = Sha256::new();
        let mut len = 0;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            sha256.update(&buffer[..count]);
            len += count as u64;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            sha256,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // After a failed write the position may be anywhere.
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.write_all(bytes)?;
        self.sha256.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.sha256 = Sha256::new();
        self.len = 0;
        Ok(())
    }

    fn disk(&self, source: io::Error) -> Failure {
        ModelRefError::disk(&self.path)(source).into()
    }

    /// Compares size and digest with what the Hub announced. A wrong file is removed, as continuing it
    /// would not mend it.
    fn verify(&self, name: &str, remote: &Remote) -> Result<(), ModelRefError> {
        let (what, expected, found) = match (remote.size, &remote.sha256) {
            (Some(size), _) if size != self.len => ("size", size.to_string(), self.len.to_string()),
            (_, Some(expected)) => {
                let found: String = self
                    .sha256
                    .clone()
                    .finalize()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                ("SHA-256", expected.clone(), found)
            }
            _ => return Ok(()),
        };
        if expected == found {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(ModelRefError::disk(&self.path))?;
        Err(ModelRefError::Corrupt {
            file: name.to_owned(),
            what,
            expected,
            found,
        })
    }
}

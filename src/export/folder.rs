//! The folder that a dataset is written to: nothing of others is touched, nothing half written is seen.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

use super::manifest::{self, FileEntry, Manifest};
use super::{DROPPED_FILE, ExportError, ROWS_FILE};

/// The end of the names that files have while they are written.
const UNFINISHED: &str = ".amend-unfinished";

/// The largest manifest that is read back.
const MANIFEST_LIMIT: u64 = 64 << 20;

/// A folder that may be written to.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder, or checks that everything in it was written by an earlier export and not
    /// changed since. `force` leaves that check out.
    pub fn open(path: &Path, force: bool) -> Result<Self, ExportError> {
        let failed = |source| write_error(path, source);
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(ExportError::NotAFolder(path.to_owned()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        let folder = Self {
            path: path.to_owned(),
        };
        if !force {
            folder.check().map_err(failed)??;
        }
        Ok(folder)
    }

    /// Begins a file; it appears under its name when it is published.
    pub fn create(&self, name: &'static str) -> Result<Output, ExportError> {
        // With the process in its name, so that two exports at once never write into one file.
        let unfinished = self
            .path
            .join(format!(".{name}.{}{UNFINISHED}", std::process::id()));
        let file = File::create(&unfinished).map_err(|source| write_error(&unfinished, source))?;
        Ok(Output {
            name,
            finished: self.path.join(name),
            unfinished: Unfinished(unfinished),
            file: BufWriter::new(file),
            sha256: Sha256::new(),
            b3: blake3::Hasher::new(),
            bytes: 0,
            lines: 0,
        })
    }

    /// Clears away what killed exports left, and asks the system to keep the renames through a power cut.
    pub fn settle(&self) {
        // What cannot be cleared away does no harm: its name says that it is unfinished.
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if unfinished(&entry.file_name().to_string_lossy()).is_some() {
                let _ = fs::remove_file(entry.path());
            }
        }
        // Not every system lets a folder be opened; the files themselves are already on disk.
        if let Ok(folder) = File::open(&self.path) {
            let _ = folder.sync_all();
        }
    }

    fn check(&self) -> io::Result<Result<(), ExportError>> {
        let mut names = Vec::new();
        let mut manifests = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // An export that was killed while it gave files their names leaves its manifest unfinished.
            if name == manifest::FILE || unfinished(&name) == Some(manifest::FILE) {
                manifests.extend(read_manifest(&self.path.join(&name))?);
            }
            names.push(name);
        }
        let mut foreign = Vec::new();
        for name in names {
            if !self.is_ours(&name, &manifests)? {
                foreign.push(name);
            }
        }
        if foreign.is_empty() {
            return Ok(Ok(()));
        }
        foreign.sort();
        let more = foreign.len().saturating_sub(5);
        foreign.truncate(5);
        let mut names = foreign.join(", ").escape_debug().to_string();
        if more > 0 {
            names.push_str(&format!(" and {more} more"));
        }
        Ok(Err(ExportError::Foreign {
            path: self.path.clone(),
            names,
        }))
    }

    /// Whether an earlier export wrote this file, and wrote it as it is now.
    fn is_ours(&self, name: &str, manifests: &[Manifest]) -> io::Result<bool> {
        if unfinished(name).is_some() {
            return Ok(true);
        }
        let path = self.path.join(name);
        if name == manifest::FILE {
            return Ok(read_manifest(&path)?.is_some());
        }
        let mut entries = manifests
            .iter()
            .flat_map(|manifest| &manifest.files)
            .filter(|file| file.name == name)
            .peekable();
        if entries.peek().is_none() || !fs::metadata(&path)?.is_file() {
            return Ok(false);
        }
        let digest = hash(&path)?;
        Ok(entries.any(|entry| entry.b3 == digest.as_str()))
    }
}

/// Which file of an export the name of an unfinished one stands for.
fn unfinished(name: &str) -> Option<&'static str> {
    let stem = name.strip_prefix('.')?.strip_suffix(UNFINISHED)?;
    let (stem, process) = stem.rsplit_once('.')?;
    process.parse::<u32>().ok()?;
    [ROWS_FILE, DROPPED_FILE, manifest::FILE]
        .into_iter()
        .find(|ours| *ours == stem)
}

fn read_manifest(path: &Path) -> io::Result<Option<Manifest>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) if file.metadata()?.is_file() => {
            file.take(MANIFEST_LIMIT).read_to_end(&mut text)?;
        }
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Manifest::parse(&text))
}

fn hash(path: &Path) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(Digest::from_hash(hasher.finalize()))
}

/// A file that is being written.
pub(super) struct Output {
    name: &'static str,
    finished: PathBuf,
    unfinished: Unfinished,
    file: BufWriter<File>,
    sha256: Sha256,
    b3: blake3::Hasher,
    bytes: u64,
    lines: u64,
}

impl Output {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.sha256.update(bytes);
        self.b3.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(|source| write_error(&self.finished, source))
    }

    /// Adds a value as one line of JSON.
    pub fn line(&mut self, value: &impl Serialize) -> Result<(), ExportError> {
        let mut line =
            serde_json::to_vec(value).map_err(|error| write_error(&self.finished, error.into()))?;
        line.push(b'\n');
        self.lines += 1;
        self.write(&line)
    }

    /// Brings everything to disk and says what the file holds.
    pub fn close(self) -> Result<(Closed, FileEntry), ExportError> {
        let failed = |source| write_error(&self.finished, source);
        let file = self.file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)?;
        let entry = FileEntry {
            name: self.name.to_owned(),
            lines: self.lines,
            bytes: self.bytes,
            sha256: self
                .sha256
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            b3: Digest::from_hash(self.b3.finalize()).to_string(),
        };
        Ok((
            Closed {
                finished: self.finished,
                unfinished: self.unfinished,
            },
            entry,
        ))
    }
}

/// A file that is written and does not yet have its name.
pub(super) struct Closed {
    finished: PathBuf,
    unfinished: Unfinished,
}

impl Closed {
    /// Gives the file its name.
    pub fn publish(self) -> Result<(), ExportError> {
        fs::rename(&self.unfinished.0, &self.finished)
            .map_err(|source| write_error(&self.finished, source))
    }
}

/// Removes what was not finished; once the file has its name there is nothing left to remove.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn write_error(path: &Path, source: io::Error) -> ExportError {
    ExportError::Write {
        path: path.to_owned(),
        source,
    }
}

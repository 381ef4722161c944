//! The folder that a dataset is written to: nothing of others is touched, nothing half written is seen.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

use super::ExportError;
use super::manifest::{self, FileEntry, Manifest};

/// The end of the names that files have while they are written.
const UNFINISHED: &str = ".amend-unfinished";

/// What unfinished files are called, the manifest aside.
const PART: &str = "part";

/// The folder of files that are numbered.
pub(super) const DATA: &str = "data";

/// Bytes that are gathered before they are hashed and written: both are faster in one piece.
const GATHERED: usize = 1 << 16;

/// The largest manifest that is read back.
const MANIFEST_LIMIT: u64 = 64 << 20;

/// A folder that may be written to.
pub(super) struct Folder {
    path: PathBuf,
    /// The folders that were made for this export, the innermost first.
    made: Vec<PathBuf>,
    /// Files begun.
    begun: AtomicU32,
    /// Files of an earlier export that were not changed since.
    earlier: Vec<String>,
}

impl Folder {
    /// Makes the folder, or checks that everything in it was written by an earlier export and not
    /// changed since. `force` leaves that check out.
    pub fn open(path: &Path, force: bool) -> Result<Self, ExportError> {
        let failed = |source| write_error(path, source);
        let made = match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(ExportError::NotAFolder(path.to_owned()));
            }
            Ok(_) => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let missing = missing(path);
                fs::create_dir_all(path).map_err(failed)?;
                missing
            }
            Err(error) => return Err(failed(error)),
        };
        let mut folder = Self {
            path: path.to_owned(),
            made,
            begun: AtomicU32::new(0),
            earlier: Vec::new(),
        };
        let (ours, foreign) = folder.look().map_err(failed)?;
        if !force && !foreign.is_empty() {
            return Err(foreign_files(path, foreign));
        }
        folder.earlier = ours;
        Ok(folder)
    }

    /// Where a file of this name will be.
    pub fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Begins a file; it appears when it is published, under the name that it is given then.
    pub fn create(&self) -> Result<Output, ExportError> {
        let part = format!("{PART}-{}", self.begun.fetch_add(1, Ordering::Relaxed));
        self.begin(&part)
    }

    /// Begins the manifest, whose unfinished form is known by its name.
    pub fn create_manifest(&self) -> Result<Output, ExportError> {
        self.begin(manifest::FILE)
    }

    fn begin(&self, stem: &str) -> Result<Output, ExportError> {
        // With the process in its name, so that two exports at once never write into one file.
        let unfinished = self
            .path
            .join(format!(".{stem}.{}{UNFINISHED}", std::process::id()));
        let file = File::create(&unfinished).map_err(|source| write_error(&unfinished, source))?;
        Ok(Output {
            path: unfinished.clone(),
            unfinished: Unfinished(unfinished),
            file,
            gathered: Vec::with_capacity(GATHERED),
            sha256: Sha256::new(),
            b3: blake3::Hasher::new(),
            bytes: 0,
        })
    }

    /// Takes back the folders that were made for an export that wrote nothing.
    pub fn abandon(&self) {
        for folder in &self.made {
            // Only where it is empty.
            if fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }

    /// Removes what an earlier export wrote and this one did not, such as the third part of three.
    pub fn drop_stale(&self, manifest: &Manifest) {
        let written = |name: &String| manifest.files.iter().any(|file| file.name == *name);
        let stale = |name: &&String| *name != manifest::FILE && !written(name);
        for name in self.earlier.iter().filter(stale) {
            // Left behind it would be stale, and the manifest names it no more.
            let _ = fs::remove_file(self.path.join(name));
        }
        // Only where it is empty.
        let _ = fs::remove_dir(self.path.join(DATA));
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

    /// The names of what is there: files of an earlier export, and all others.
    fn look(&self) -> io::Result<(Vec<String>, Vec<String>)> {
        let names = self.names()?;
        let mut manifests = Vec::new();
        for name in &names {
            // An export that was killed while it gave files their names leaves its manifest unfinished.
            if name == manifest::FILE || unfinished(name) == Some(manifest::FILE) {
                manifests.extend(read_manifest(&self.path.join(name))?);
            }
        }
        let (mut ours, mut foreign) = (Vec::new(), Vec::new());
        for name in names {
            match self.is_ours(&name, &manifests)? {
                true if unfinished(&name).is_some() => {}
                true => ours.push(name),
                false => foreign.push(name),
            }
        }
        Ok((ours, foreign))
    }

    /// What the folder holds, with the contents of `data` in place of that.
    fn names(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| -> io::Result<String> {
            Ok(entry?.file_name().to_string_lossy().into_owned())
        };
        let mut names: Vec<String> = fs::read_dir(&self.path)?
            .map(name)
            .collect::<Result<_, _>>()?;
        let data = self.path.join(DATA);
        if fs::symlink_metadata(&data).is_ok_and(|metadata| metadata.is_dir()) {
            names.retain(|name| name != DATA);
            for inner in fs::read_dir(&data)? {
                names.push(format!("{DATA}/{}", name(inner)?));
            }
        }
        names.sort();
        Ok(names)
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

/// What has to be made for a folder, the innermost first.
fn missing(path: &Path) -> Vec<PathBuf> {
    path.ancestors()
        // The last ancestor of a relative path is empty, and stands for a folder that is there.
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .map(Path::to_owned)
        .collect()
}

/// Which file of an export the name of an unfinished one stands for: the manifest, or another.
fn unfinished(name: &str) -> Option<&str> {
    let stem = name.strip_prefix('.')?.strip_suffix(UNFINISHED)?;
    let (stem, process) = stem.rsplit_once('.')?;
    process.parse::<u32>().ok()?;
    if stem == manifest::FILE {
        return Some(stem);
    }
    let (part, number) = stem.rsplit_once('-')?;
    number
        .parse::<u32>()
        .ok()
        .filter(|_| part == PART)
        .map(|_| part)
}

fn foreign_files(path: &Path, mut foreign: Vec<String>) -> ExportError {
    let more = foreign.len().saturating_sub(5);
    foreign.truncate(5);
    let mut names = foreign.join(", ").escape_debug().to_string();
    if more > 0 {
        names.push_str(&format!(" and {more} more"));
    }
    ExportError::Foreign {
        path: path.to_owned(),
        names,
    }
}

pub(super) fn read_manifest(path: &Path) -> io::Result<Option<Manifest>> {
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
    path: PathBuf,
    unfinished: Unfinished,
    file: File,
    /// What is not written yet.
    gathered: Vec<u8>,
    sha256: Sha256,
    b3: blake3::Hasher,
    bytes: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.gathered)?;
        self.sha256.update(&self.gathered);
        self.b3.update(&self.gathered);
        self.bytes += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

impl Output {
    /// Adds a value as one line of JSON.
    pub fn line(&mut self, value: &impl Serialize) -> Result<(), ExportError> {
        let added = serde_json::to_writer(&mut self.gathered, value).map_err(io::Error::from);
        added
            .and_then(|()| self.write_all(b"\n"))
            .map_err(|source| write_error(&self.path, source))
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.write_all(bytes)
            .map_err(|source| write_error(&self.path, source))
    }

    /// Brings everything to disk. `lines` is what the entry says of it.
    pub fn close(mut self, lines: u64) -> Result<Closed, ExportError> {
        let written = self.flush().and_then(|()| self.file.sync_all());
        written.map_err(|source| write_error(&self.path, source))?;
        Ok(Closed {
            unfinished: self.unfinished,
            entry: FileEntry {
                name: String::new(),
                lines,
                bytes: self.bytes,
                sha256: hex(&self.sha256.finalize()),
                b3: Digest::from_hash(self.b3.finalize()).to_string(),
            },
        })
    }
}

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file that is written and does not yet have its name.
pub(super) struct Closed {
    unfinished: Unfinished,
    entry: FileEntry,
}

impl Closed {
    /// Decides the file's name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.entry.name = name.into();
        self
    }

    /// What the file holds.
    pub fn entry(&self) -> &FileEntry {
        &self.entry
    }

    /// Gives the file its name.
    pub fn publish(self, folder: &Folder) -> Result<(), ExportError> {
        let finished = folder.place(&self.entry.name);
        let failed = |source| write_error(&finished, source);
        if let Some(parent) = finished.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::rename(&self.unfinished.0, &finished).map_err(failed)
    }
}

/// Removes what was not finished; once the file has its name there is nothing left to remove.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub(super) fn write_error(path: &Path, source: io::Error) -> ExportError {
    ExportError::Write {
        path: path.to_owned(),
        source,
    }
}

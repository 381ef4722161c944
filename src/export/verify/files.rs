//! The files of a dataset, held against its manifest.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

use super::{Check, Fault, VerifyError};
use crate::export::folder::{DATA, hex, read_manifest};
use crate::export::manifest::{self, FileEntry, Manifest};
use crate::export::{Format, Kind};

/// Reads the manifest.
pub(super) fn manifest(folder: &Path) -> Result<(Manifest, Format, Kind), VerifyError> {
    let path = folder.join(manifest::FILE);
    let none = |reason: String| VerifyError::NoManifest {
        path: path.clone(),
        reason,
    };
    let found = read_manifest(&path).map_err(|error| none(error.to_string()))?;
    let manifest = match found {
        Some(manifest) => manifest,
        None if path.exists() => return Err(none("is not a manifest of amend".to_owned())),
        None => return Err(none("is not there".to_owned())),
    };
    let unknown = |what, name: &str| VerifyError::Unknown {
        path: path.clone(),
        what,
        name: name.escape_debug().to_string(),
    };
    let format =
        Format::parse(&manifest.format).ok_or_else(|| unknown("format", &manifest.format))?;
    let kind =
        Kind::parse(&manifest.kind).ok_or_else(|| unknown("kind of file", &manifest.kind))?;
    Ok((manifest, format, kind))
}

/// What is not as the manifest says.
pub(in crate::export) fn faults(folder: &Path, manifest: &Manifest) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |file: &str, what: String| {
        faults.push(Fault {
            check: Check::Files,
            file: file.to_owned(),
            line: None,
            what,
        });
    };
    for entry in &manifest.files {
        match compare(folder, entry) {
            Ok(None) => {}
            Ok(Some(what)) => fault(&entry.name, what),
            Err(error) => fault(&entry.name, error.to_string()),
        }
    }
    for split in &manifest.splits {
        for file in split
            .files
            .iter()
            .filter(|file| !manifest.files.iter().any(|f| f.name == **file))
        {
            fault(
                file,
                "belongs to a split, and the manifest gives no digest of it".to_owned(),
            );
        }
    }
    for name in stray(folder, manifest) {
        fault(
            &name,
            "is not in the manifest, and a reader would take it for rows".to_owned(),
        );
    }
    faults
}

/// Whether a name of the manifest stays in the folder.
pub(super) fn is_inside(name: &str) -> bool {
    let path = Path::new(name);
    !name.is_empty()
        && path
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

fn compare(folder: &Path, entry: &FileEntry) -> io::Result<Option<String>> {
    if !is_inside(&entry.name) {
        return Ok(Some("is not in this folder".to_owned()));
    }
    let mut file = match File::open(folder.join(&entry.name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("is missing".to_owned()));
        }
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(Some("is not a file".to_owned()));
    }
    let (mut sha256, mut b3, mut bytes) = (Sha256::new(), blake3::Hasher::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        b3.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(if bytes != entry.bytes {
        Some(format!("has {bytes} bytes in place of {}", entry.bytes))
    } else if hex(&sha256.finalize()) != entry.sha256 {
        Some("has another SHA-256 than the manifest says".to_owned())
    } else if Digest::from_hash(b3.finalize()).as_str() != entry.b3 {
        Some("has another BLAKE3 than the manifest says".to_owned())
    } else {
        None
    })
}

/// The files that mlx-lm reads, whatever the manifest and the card say.
const READ_BY_NAME: [&str; 3] = ["train.jsonl", "valid.jsonl", "test.jsonl"];

/// Files that a reader takes for rows and that the manifest does not name.
fn stray(folder: &Path, manifest: &Manifest) -> Vec<String> {
    let by_name = match manifest.format == Format::Mlx.as_str() {
        true => &READ_BY_NAME[..],
        false => &[],
    };
    let there = |name: &&&str| folder.join(**name).exists();
    let entries = fs::read_dir(folder.join(DATA))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = entries
        .map(|entry| format!("{DATA}/{}", entry.file_name().to_string_lossy()))
        .chain(by_name.iter().filter(there).map(|name| (*name).to_owned()))
        .filter(|name| !manifest.files.iter().any(|file| file.name == *name))
        .collect();
    names.sort();
    names
}

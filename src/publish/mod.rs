//! A written dataset onto the Hugging Face Hub, with the Hub's own API: the repository is made, large files go
//! to its store of large files, and one commit brings everything in.
//!
//! Whatever was uploaded before a failure is found by its digest and not sent again, so trying again goes on where
//! it stopped. Nothing is visible before the commit. A commit names the one that it was made for, so that what
//! somebody else committed meanwhile is never overwritten unseen.

mod api;
mod http;
mod large;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::export::{FileEntry, MANIFEST_FILE, Manifest};

use api::Api;

/// The Hub, and who speaks to it.
#[derive(Clone)]
pub struct Hub {
    /// Its address, without a slash at its end.
    pub endpoint: String,
    /// The access token.
    pub token: String,
    /// How often a request is made before it is given up.
    pub attempts: u32,
    /// Time before the second attempt; doubles with each one.
    pub backoff: Duration,
}

/// Where a dataset goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The user or organisation.
    pub owner: String,
    /// The repository's name.
    pub name: String,
    /// The branch; `main` unless another is named.
    pub revision: String,
}

impl Target {
    /// Reads `hf:owner/name` and `hf:owner/name@branch`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "write hf:OWNER/NAME, or hf:OWNER/NAME@BRANCH";
        let rest = text.strip_prefix("hf:").ok_or(form)?;
        let (repository, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let (owner, name) = repository.split_once('/').ok_or(form)?;
        for part in [owner, name] {
            // The Hub's rules for names.
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let edges = part.starts_with(['-', '.']) || part.ends_with(['-', '.']);
            if part.is_empty()
                || part.len() > 96
                || !part.chars().all(fits)
                || edges
                || part.contains("..")
            {
                return Err(format!(
                    "`{}` is no name on the Hub; {form}",
                    part.escape_debug()
                ));
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if revision.is_empty() || !revision.chars().all(plain) || revision.contains("..") {
            return Err(format!(
                "`{}` is no branch; {form}",
                revision.escape_debug()
            ));
        }
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// What a progress display needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The repository is there: it was made, or it was there before.
    Repository {
        /// Whether it was made.
        made: bool,
    },
    /// A large file is on its way.
    Uploading {
        /// Its name.
        name: &'a str,
        /// Its size.
        bytes: u64,
    },
    /// A large file was uploaded before.
    Present {
        /// Its name.
        name: &'a str,
    },
    /// A file stays here, as the repository's .gitignore wants it.
    Ignored {
        /// Its name.
        name: &'a str,
    },
    /// An attempt failed and another follows.
    Retry {
        /// What happened.
        why: String,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Pushed {
    /// The commit's address.
    pub commit_url: String,
    /// The dataset's address.
    pub url: String,
    /// Files in the commit.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of an earlier push that are gone.
    pub deleted: u64,
}

/// Why a dataset was not pushed.
#[derive(Debug, Error)]
pub enum PushError {
    /// The folder holds no export, or not the whole of it.
    #[error("{}: {reason}; name a folder that `amend export` wrote, and see `amend verify`", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The token is missing, not valid, or may not write there.
    #[error(
        "the Hub refuses the token ({status}): {words}; set HF_TOKEN to one that may write to {repository}"
    )]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The Hub's words.
        words: String,
        /// Where to.
        repository: String,
    },
    /// Somebody else committed meanwhile.
    #[error(
        "{repository} was changed while this was being pushed: {words}; look at what changed there, and push again"
    )]
    Conflict {
        /// Where to.
        repository: String,
        /// The Hub's words.
        words: String,
    },
    /// Nobody answers, or not in the way of the Hub.
    #[error("{what}: {words}; what was uploaded is kept, and the same command goes on from there")]
    Server {
        /// What was asked for.
        what: String,
        /// What came back.
        words: String,
    },
}

impl PushError {
    fn folder(path: &Path, error: io::Error) -> Self {
        PushError::Folder {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// A file to push.
struct Local {
    name: String,
    path: PathBuf,
    bytes: u64,
    sha256: String,
}

/// Pushes the export in a folder.
///
/// # Errors
///
/// When the folder is not as its manifest says, the Hub refuses, or nobody answers. Nothing is visible on the Hub
/// then.
pub fn push(
    folder: &Path,
    target: &Target,
    private: bool,
    hub: &Hub,
    events: &mut dyn FnMut(Event<'_>),
) -> Result<Pushed, PushError> {
    let (manifest, mut files) = local(folder)?;
    let mut api = Api::new(hub, target, events);
    let made = api.create(private)?;
    api.tell(Event::Repository { made });
    let head = api.head()?;
    let stale = api.stale(&head, &manifest)?;
    let modes = api.modes(&files)?;
    files.retain(|file| {
        let ignored = modes[&file.name].ignored;
        if ignored {
            api.tell(Event::Ignored { name: &file.name });
        }
        !ignored
    });
    let large: Vec<&Local> = files
        .iter()
        .filter(|file| modes[&file.name].large)
        .collect();
    large::upload(&mut api, &large)?;
    let commit_url = api.commit(&head, &files, &modes, &stale, &summary(&manifest))?;
    Ok(Pushed {
        commit_url,
        url: api.page(),
        files: files.len() as u64,
        bytes: files.iter().map(|file| file.bytes).sum(),
        deleted: stale.len() as u64,
    })
}

/// How a file goes into a commit.
#[derive(Clone, Copy, Debug, Default)]
struct Mode {
    /// By its digest, its bytes having gone to the store of large files.
    large: bool,
    /// Not at all, as the repository's .gitignore wants it.
    ignored: bool,
}

type Modes = BTreeMap<String, Mode>;

fn summary(manifest: &Manifest) -> String {
    let rows = match manifest.rows {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    format!("Upload {rows} as {} with amend", manifest.format)
}

/// The files of an export, each as the manifest says, the manifest itself last.
fn local(folder: &Path) -> Result<(Manifest, Vec<Local>), PushError> {
    let path = folder.join(MANIFEST_FILE);
    let text = std::fs::read(&path).map_err(|error| PushError::folder(&path, error))?;
    let manifest = Manifest::parse(&text).ok_or_else(|| PushError::Folder {
        path: path.clone(),
        reason: "is not a manifest of amend".to_owned(),
    })?;
    if let Some((name, reason)) = manifest.faults(folder).into_iter().next() {
        return Err(PushError::Folder {
            path: folder.join(name),
            reason,
        });
    }
    let local = |entry: &FileEntry| Local {
        path: folder.join(&entry.name),
        name: entry.name.clone(),
        bytes: entry.bytes,
        sha256: entry.sha256.clone(),
    };
    let mut files: Vec<Local> = manifest.files.iter().map(local).collect();
    files.push(Local {
        name: MANIFEST_FILE.to_owned(),
        bytes: text.len() as u64,
        sha256: http::sha256(&text),
        path,
    });
    Ok((manifest, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_names_on_the_hub() {
        let target = Target::parse("hf:some-one/data.set_1").unwrap();
        assert_eq!(target.to_string(), "some-one/data.set_1");
        assert_eq!(target.revision, "main");
        assert_eq!(Target::parse("hf:a/b@next").unwrap().revision, "next");
        for bad in [
            "a/b",
            "hf:a",
            "hf:/b",
            "hf:a/",
            "hf:a/b/c",
            "hf:a/../b",
            "hf:a/-b",
            "hf:a/b@",
            "hf:a/b@x/y",
            "hf:a/b?c",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}

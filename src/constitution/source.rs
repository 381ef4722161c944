//! Where constitutions come from: files, and the ones that travel inside the program.
//!
//! This is the one file of the domain that reads files. Resolving is pure and takes its reader as an
//! argument; this reader is kept next to it, so that every caller has the same limits and the same
//! idea of what a name means.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::comments::lines;
use super::error::{Code, ConstitutionError, Problem, Span, did_you_mean};
use super::resolve::{MAX_BYTES, Resolved, resolve, too_large};

/// A constitution that travels inside the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// The name by which it is asked for.
    pub name: &'static str,
    /// Where it stands in the source tree; asked for by this path, it is also found without the tree.
    pub path: &'static str,
    /// Its YAML text.
    pub text: &'static str,
}

/// The constitutions that travel inside the program.
pub const SHIPPED: &[Shipped] = &[
    Shipped {
        name: "children",
        path: "constitutions/children.yaml",
        text: include_str!("../../constitutions/children.yaml"),
    },
    Shipped {
        name: "hhh",
        path: "constitutions/hhh.yaml",
        text: include_str!("../../constitutions/hhh.yaml"),
    },
    Shipped {
        name: "honesty",
        path: "constitutions/honesty.yaml",
        text: include_str!("../../constitutions/honesty.yaml"),
    },
    Shipped {
        name: "minimal",
        path: "constitutions/minimal.yaml",
        text: include_str!("../../constitutions/minimal.yaml"),
    },
    Shipped {
        name: "plain-style",
        path: "constitutions/plain-style.yaml",
        text: include_str!("../../constitutions/plain-style.yaml"),
    },
    Shipped {
        name: "support-desk",
        path: "constitutions/support-desk.yaml",
        text: include_str!("../../constitutions/support-desk.yaml"),
    },
];

/// Where a constitution was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// In the program, under this name.
    Shipped(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Shipped(name) => write!(f, "{name} (shipped)"),
        }
    }
}

/// A constitution, and where it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The resolved form.
    pub resolved: Resolved,
    /// Where the root file was found.
    pub source: Source,
}

/// Loads a constitution by the path of a file or the name of a shipped one, and the files it extends.
///
/// A file wins over a shipped constitution of the same name.
///
/// # Errors
///
/// When a file is missing, too large or not text, and for everything that is wrong with its content.
pub fn load(name_or_path: &str) -> Result<Loaded, ConstitutionError> {
    let path = Path::new(name_or_path);
    let (text, source) = find(path, true).map_err(|error| problem(path, error))?;
    let resolved = resolve(path, &text, &mut find_text)?;
    Ok(Loaded { resolved, source })
}

/// The text of a file or of a shipped constitution.
pub(super) fn text(path: &Path) -> Result<String, Problem> {
    let found = find(path, true).map_err(|error| problem(path, error))?;
    Ok(found.0)
}

/// The reader of files that `extends` names. What is a name there, and no path, it cannot tell: where
/// nothing is found, resolving falls back on the shipped constitution of that name.
pub(super) fn find_text(path: &Path) -> io::Result<String> {
    find(path, false).map(|(text, _)| text)
}

/// The shipped constitution of that name.
pub(super) fn named(name: &str) -> Option<&'static Shipped> {
    SHIPPED.iter().find(|it| it.name == name)
}

/// The text of a constitution; `or_name` tells whether the path may be a shipped name. Errors carry a
/// [`Problem`]; their kind tells a missing file and a directory from others.
fn find(path: &Path, or_name: bool) -> io::Result<(String, Source)> {
    let shipped = shipped(path, or_name).map(|it| (it.text.to_owned(), Source::Shipped(it.name)));
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => shipped.ok_or_else(|| {
            let remedy = "name a YAML file in it";
            let problem = unreadable(path, "this is a directory", remedy);
            io::Error::new(io::ErrorKind::IsADirectory, problem)
        }),
        Ok(metadata) if metadata.len() > MAX_BYTES as u64 => Err(other(too_large(path))),
        Ok(_) => Ok((read(path)?, Source::File(path.to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            shipped.ok_or_else(|| io::Error::new(error.kind(), missing(path)))
        }
        Err(error) => Err(error),
    }
}

fn other(problem: Problem) -> io::Error {
    io::Error::other(problem)
}

fn problem(path: &Path, error: io::Error) -> Problem {
    error.downcast::<Problem>().unwrap_or_else(|error| {
        let message = format!("the file cannot be read: {error}");
        unreadable(path, &message, "check the path and its permissions")
    })
}

/// The shipped constitution of that path in the source tree, or of that name where it may be one. A name
/// has no folder: in one, it is the path of a file that is not there.
fn shipped(path: &Path, or_name: bool) -> Option<&'static Shipped> {
    let plain = path.strip_prefix(".").unwrap_or(path);
    let by_path = SHIPPED.iter().find(|it| plain == Path::new(it.path));
    let by_name = || named(path.to_str().filter(|_| or_name)?);
    by_path.or_else(by_name)
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    // The size is bounded again while reading: a pipe or a device does not tell it.
    File::open(path)?
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(other(too_large(path)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        other(not_utf8(path, &error.as_bytes()[..good]))
    })
}

/// The text of a file that is not UTF-8, with a stand-in for each fault.
pub(super) fn lossy(path: &Path) -> Option<String> {
    // What is no file, such as a pipe, cannot be read again.
    let file = path.is_file().then(|| File::open(path).ok()).flatten()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `good` is the text before the first byte that is not UTF-8.
fn not_utf8(path: &Path, good: &[u8]) -> Problem {
    let good = String::from_utf8_lossy(good);
    let lines = lines(&good);
    let column = lines.last().map_or(0, |line| line.chars().count()) + 1;
    let at = Some(Span::point(lines.len(), column));
    let message = "the text is not UTF-8 here";
    Problem::new(Code::NotUtf8, path, at, message, "save the file as UTF-8")
}

fn unreadable(path: &Path, message: &str, remedy: &str) -> Problem {
    Problem::new(Code::Unreadable, path, None, message, remedy)
}

fn missing(path: &Path) -> Problem {
    let names = SHIPPED.iter().map(|it| it.name);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let guess = did_you_mean(&stem, names.clone());
    let names: Vec<_> = names.collect();
    let message = format!("there is no such constitution{guess}");
    let remedy = format!("name a YAML file, or a shipped one: {}", names.join(", "));
    unreadable(path, &message, &remedy)
}

//! Reading a constitution as a reviewer does: everything that is wrong with it, and what probably does
//! not do what its author means. No model takes part.
//!
//! Errors come from the loader, all of them at once. Warnings are about the file that is linted, not about
//! the files that it extends, and a comment `# amend: allow CODE` silences one.

mod allow;
mod explain;
mod rules;
mod similar;
mod wording;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Code, Level, Problem};
use super::resolve::examine;
use super::source;
use crate::digest::Digest;

pub use explain::explanation;
pub use rules::CONTEXT;

/// What linting a constitution found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The problems: the root file's first, each file's in the order of its lines.
    pub problems: Vec<Problem>,
    /// The texts of the files that were read, by the name that problems give them.
    pub texts: BTreeMap<PathBuf, String>,
    /// The digest of the resolved form, when there is no error.
    pub digest: Option<Digest>,
}

impl Report {
    /// How many problems of a level there are.
    pub fn count(&self, level: Level) -> usize {
        let of_level = |problem: &&Problem| problem.code.level() == level;
        self.problems.iter().filter(of_level).count()
    }
}

/// Lints a file or a shipped constitution. What cannot be read is a problem like others.
pub fn lint(name_or_path: &str) -> Report {
    let path = Path::new(name_or_path);
    let mut report = match source::text(path) {
        Ok(text) => lint_text(path, &text, &mut |path| source::find_text(path)),
        Err(problem) => Report {
            problems: vec![problem],
            texts: BTreeMap::new(),
            digest: None,
        },
    };
    // What is no text is shown as far as it is one.
    for problem in &report.problems {
        if problem.code == Code::NotUtf8
            && let Some(text) = source::lossy(&problem.file)
        {
            report.texts.insert(problem.file.clone(), text);
        }
    }
    report
}

/// Lints a constitution from the text of its root file; `read` is as for [`resolve`](super::resolve).
pub fn lint_text(
    name: &Path,
    text: &str,
    read: &mut dyn FnMut(&Path) -> io::Result<String>,
) -> Report {
    let examined = examine(name, text, read);
    let mut warnings = rules::warnings(&examined);
    // A file that is no YAML, or too large, is not looked at.
    let readable = examined.root.and_then(|_| examined.texts.get(name));
    if let Some(text) = readable {
        allow::apply(name, text, !examined.problems.is_empty(), &mut warnings);
    }
    let (mut problems, others): (Vec<_>, Vec<_>) = examined
        .problems
        .into_iter()
        .partition(|problem| problem.file == name);
    problems.append(&mut warnings);
    problems.sort_by_key(|problem| problem.span);
    problems.extend(others);
    Report {
        problems,
        texts: examined.texts,
        digest: examined.resolved.map(|resolved| resolved.digest),
    }
}

//! Datasets out: chains become the rows that a trainer reads.
//!
//! One file per format, behind [`Rows`]. [`export`] streams the matching chains by run and position, so
//! that any number of them takes the same memory, and two exports of equal chains are equal byte by
//! byte: nothing that is written knows a time, a machine or a path.

mod folder;
mod manifest;
mod trl_dpo;
mod trl_sft;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;

use crate::chain::Flag;
use crate::generation::Message;
use crate::quality::gates::{Gating, Refused};
use crate::store::{ChainDetail, ChainRow, Depth, Filter, Store, StoreError};

use folder::{Folder, Output};
pub use manifest::{FileEntry, Manifest, RunEntry};

/// The file that holds the rows.
pub const ROWS_FILE: &str = "train.jsonl";

/// The file that names every chain that gave no row, and why.
pub const DROPPED_FILE: &str = "dropped.jsonl";

/// What a dataset is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `messages`: the prompt and the final text, for TRL's SFTTrainer
    TrlSft,
    /// `prompt`, `chosen`, `rejected`: final text over draft, for TRL's DPOTrainer
    TrlDpo,
}

impl Format {
    /// The name used on the command line and in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::TrlSft => "trl-sft",
            Format::TrlDpo => "trl-dpo",
        }
    }

    fn rows(self, all_rounds: bool) -> Box<dyn Rows> {
        match self {
            Format::TrlSft => Box::new(trl_sft::TrlSft { all_rounds }),
            Format::TrlDpo => Box::new(trl_dpo::TrlDpo),
        }
    }
}

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// What to write.
    pub format: Format,
    /// Which chains.
    pub filter: Filter,
    /// Of which run, by its whole id; `None` for all.
    pub run: Option<String>,
    /// One row for every adopted revision instead of one for every chain. Changes `trl-sft` only.
    pub all_rounds: bool,
    /// Write into a folder that holds other files, and over files of the same names.
    pub force: bool,
}

/// Why a dataset was not written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The output is not a folder.
    #[error("{} is a file; name a folder with --out", .0.display())]
    NotAFolder(PathBuf),
    /// The folder holds files that an export did not write, or that were changed since.
    #[error("{} holds files that amend did not write: {names}; name another folder with --out, or write there with --force", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Their names.
        names: String,
    },
    /// No chain gave a row; nothing was written.
    #[error("no row to write: {0}")]
    NoRows(String),
}

/// Writes the chains that match and pass the gates into the folder `out`, and returns the manifest that was
/// written there.
///
/// Every file is written under another name and renamed at the end, the manifest last.
///
/// # Errors
///
/// When the store cannot be read, the folder cannot be written or holds other files, or when no chain
/// gives a row. Then files that were there before are still as they were.
pub fn export(
    store: &Store,
    out: &Path,
    options: &ExportOptions,
    gating: &Gating,
) -> Result<Manifest, ExportError> {
    let folder = Folder::open(out, options.force)?;
    let mut export = Export {
        rows: options.format.rows(options.all_rounds),
        train: folder.create(ROWS_FILE)?,
        dropped: folder.create(DROPPED_FILE)?,
        manifest: Manifest::new(options, gating),
        gating,
    };
    let (run, depth) = (options.run.as_deref(), export.rows.depth());
    let flow = store.for_each_whole_chain(&options.filter, run, depth, |chain| {
        match export.chain(store, &chain) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    if let ControlFlow::Break(error) = flow {
        return Err(error);
    }
    export.finish(&folder)
}

/// One file format: a chain in, rows and reasons out.
trait Rows {
    /// What a chain gives, labels and gates considered. A chain that is not done gives one reason.
    fn rows(&self, chain: &ChainDetail, gating: &Gating) -> Vec<Outcome>;

    /// How much of a chain it needs.
    fn depth(&self) -> Depth {
        Depth::Texts
    }
}

/// What became of a text.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// A row, and the flags of the text that it teaches.
    Row { row: Value, flags: Vec<Flag> },
    /// No row. `step` is set where a chain can give several.
    Dropped { step: Option<u32>, refused: Refused },
}

impl Outcome {
    fn dropped(step: Option<u32>, refused: Refused) -> Self {
        Outcome::Dropped { step, refused }
    }
}

/// An export under way.
struct Export<'a> {
    rows: Box<dyn Rows>,
    train: Output,
    dropped: Output,
    manifest: Manifest,
    gating: &'a Gating,
}

impl Export<'_> {
    fn chain(&mut self, store: &Store, chain: &ChainDetail) -> Result<(), ExportError> {
        self.manifest.chains += 1;
        if !self.manifest.has_run(&chain.row.run_id) {
            let run = store.run(&chain.row.run_id)?;
            self.manifest.runs.push(RunEntry::of(&run));
        }
        for outcome in self.rows.rows(chain, self.gating) {
            match outcome {
                Outcome::Row { row, flags } => {
                    self.manifest.rows += 1;
                    for flag in flags {
                        count(&mut self.manifest.flags, flag.as_str());
                    }
                    self.train.line(&row)?;
                }
                Outcome::Dropped { step, refused } => {
                    count(&mut self.manifest.dropped, &refused.name);
                    self.dropped.line(&dropped(&chain.row, step, &refused))?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, folder: &Folder) -> Result<Manifest, ExportError> {
        if self.manifest.rows == 0 {
            return Err(ExportError::NoRows(self.manifest.why_no_rows()));
        }
        let mut manifest_file = folder.create(manifest::FILE)?;
        let (train, train_entry) = self.train.close()?;
        let (dropped, dropped_entry) = self.dropped.close()?;
        self.manifest.files = vec![train_entry, dropped_entry];
        manifest_file.write(self.manifest.to_text().as_bytes())?;
        let (manifest_file, _) = manifest_file.close()?;
        for file in [train, dropped, manifest_file] {
            file.publish()?;
        }
        folder.settle();
        Ok(self.manifest)
    }
}

fn dropped(row: &ChainRow, step: Option<u32>, refused: &Refused) -> Value {
    let mut line = json!({
        "chain_id": row.chain_id,
        "run_id": row.run_id,
        "prompt_id": row.prompt_id,
        "sample": row.sample,
        "reason": refused.name,
    });
    if !refused.because.is_empty() {
        line["because"] = refused.because.as_str().into();
    }
    if let Some(step) = step {
        line["step"] = step.into();
    }
    line
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    *counts.entry(name.to_owned()).or_default() += 1;
}

/// A message list as trainers read it.
fn message_list<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Value {
    let turn = |message: &Message| json!({"role": message.role, "content": message.content});
    messages.into_iter().map(turn).collect()
}

#[cfg(test)]
mod tests;

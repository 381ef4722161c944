//! Datasets out: chains become the rows that a trainer reads.
//!
//! A chain gives [lessons](lesson::Lesson) (`draw`), a format gives a lesson its columns (`layouts`, one file
//! each), a split takes it (`split`), and a table writes it (`table`). [`export`] streams the matching chains by
//! run and position and keeps no row, and two exports of equal chains are equal
//! byte by byte: nothing that is written knows a time, a machine or a path.

mod card;
mod columns;
mod draw;
mod error;
mod folder;
mod format;
mod in_order;
mod layouts;
mod lesson;
mod made;
mod manifest;
mod options;
mod pairs;
mod recipes;
mod repeats;
mod replay;
mod shards;
mod split;
mod steps;
mod table;
pub mod verify;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::quality::gates::{Decision, Gating, Refused};
use crate::quality::similar::Known;
use crate::store::{ChainDetail, ChainRow, Depth, RunDetail, Scratch, Shelf, Store, StoreError};

pub use card::{CardOptions, is_license};
use columns::Column;
use draw::{Drawing, plain};
pub use error::ExportError;
use folder::{Folder, Output};
pub use format::Format;
use in_order::in_order;
use lesson::{Draws, Lesson};
use made::{Given, Made, Maker};
pub use manifest::{Division, FileEntry, Manifest, ReplayEntry, RunEntry, SplitEntry};
pub use options::ExportOptions;
use options::{check, columns_of};
use pairs::Pairs;
use repeats::Repeats;
use replay::Replay;
pub use replay::ReplayOptions;
pub use shards::ShardLimit;
use shards::Shards;
pub use split::Splits;
use split::{Assignment, Census, prompt_key};
pub use table::Kind;

/// The file that holds the rows where there is one.
pub const ROWS_FILE: &str = "train.jsonl";

/// The file that names every chain that gave no row, and why.
pub const DROPPED_FILE: &str = "dropped.jsonl";

/// The file that says of every pair how far its texts lie apart, where rows are pairs.
pub const PAIRS_FILE: &str = pairs::FILE;

/// The file that says where the rows come from.
pub const MANIFEST_FILE: &str = manifest::FILE;

/// The shelf of prompts that were rows already.
const SEEN: Shelf = 0;

/// Writes the chains that match and pass the gates into the folder `out`, and returns the manifest that was
/// written there.
///
/// Every file is written under another name and renamed at the end, the manifest last.
///
/// # Errors
///
/// When the store cannot be read, the folder cannot be written or holds other files, options do not go
/// together, or when no chain gives a row. Then files that were there before are still as they were.
pub fn export(
    store: &Store,
    out: &Path,
    options: &ExportOptions,
    gating: &Gating,
) -> Result<Manifest, ExportError> {
    check(options)?;
    let folder = Folder::open(out, options.force)?;
    // Rows are counted before they are written, and both must see the same chains.
    let written = store.at_one_moment(|| {
        let mut export = Export::begin(&folder, options, gating)?;
        export.assignment = export.assign(store)?;
        export.rows(store)?;
        export.finish(store)
    });
    let written = written
        .map_err(ExportError::from)
        .and_then(|written| written);
    if written.is_err() {
        folder.abandon();
    }
    written
}

/// An export under way.
struct Export<'a> {
    options: &'a ExportOptions,
    maker: Maker<'a>,
    folder: &'a Folder,
    columns: Vec<Column>,
    splits: Splits,
    assignment: Assignment,
    /// Prompts of other splits than the first, which general data must not ask again.
    held_back: Option<Known>,
    shards: Vec<Shards>,
    replay: Option<Replay>,
    dropped: Output,
    dropped_lines: u64,
    /// `None` where rows are no pairs.
    pairs: Option<Pairs>,
    manifest: Manifest,
    runs: Vec<Arc<RunDetail>>,
    languages: card::Languages,
}

impl<'a> Export<'a> {
    fn begin(
        folder: &'a Folder,
        options: &'a ExportOptions,
        gating: &'a Gating,
    ) -> Result<Self, ExportError> {
        let columns = options.columns();
        let splits = options.divided();
        let shards = splits
            .names()
            .map(|name| Shards::new(name, options, &columns));
        Ok(Self {
            options,
            maker: Maker {
                drawing: Drawing {
                    draws: options.format.draws(),
                    all_rounds: options.all_rounds,
                    benign: options.benign,
                    gating,
                },
                format: options.format,
                soft_labels: options.soft_labels && options.format.holds_probability(),
                keys: splits.len() > 1 || options.format.draws() == Draws::Prompts,
            },
            folder,
            shards: shards.collect(),
            columns,
            splits,
            assignment: Assignment::default(),
            held_back: None,
            replay: options.replay.as_ref().map(Replay::open).transpose()?,
            dropped: folder.create()?,
            dropped_lines: 0,
            pairs: match options.format.prefers() {
                true => Some(Pairs::begin(folder)?),
                false => None,
            },
            manifest: Manifest::new(options, gating),
            runs: Vec::new(),
            languages: card::Languages::default(),
        })
    }

    /// Hands out what every chain gives, in order: one thread reads them, others make rows of them.
    fn each(
        &mut self,
        store: &Store,
        mut each: impl FnMut(&mut Self, &Given, Made) -> Result<(), ExportError> + Send,
    ) -> Result<(), ExportError> {
        let (options, maker) = (self.options, self.maker);
        let draws = maker.drawing.draws;
        let depth = match draws {
            Draws::Critiques => Depth::Calls,
            // Whether a draft for a control prompt is sound, verdicts say.
            Draws::Answers | Draws::Pairs if !maker.drawing.benign => Depth::Responses,
            _ => Depth::Texts,
        };
        let mut runs: Vec<Arc<RunDetail>> = Vec::new();
        let read = |hand: &mut dyn FnMut(Read) -> bool| {
            let run = options.run.as_deref();
            store.for_each_whole_chain(&options.filter, run, depth, |chain| {
                let run = match run_of(store, &mut runs, &chain.row.run_id) {
                    Ok(run) => run,
                    Err(error) => return ControlFlow::Break(Some(error)),
                };
                match hand((chain, run)) {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(None),
                }
            })
        };
        let size = |(chain, _): &Read| chain.text_bytes();
        let work = |(chain, run): Read| {
            // Here, and not where chains are read: that is what takes longest.
            let decided = maker.drawing.gating.decided(&chain.row.chain_id)?;
            Ok(maker.given(chain, decided, &run.constitution))
        };
        let seen = (draws == Draws::Prompts).then(Scratch::begin).transpose()?;
        let repeats = Repeats::of(maker.drawing)?;
        let export = &mut *self;
        let take = |given: Result<Given, StoreError>| -> Result<(), ExportError> {
            let mut given = given?;
            for made in std::mem::take(&mut given.made) {
                let lesson = !matches!(made, Made::Dropped { .. });
                let again = match &seen {
                    Some(seen) if lesson => seen.meet(SEEN, given.key, 0)?.is_some(),
                    _ => false,
                };
                let made = match again {
                    true => Made::Dropped {
                        step: None,
                        refused: plain("prompt-seen"),
                    },
                    false => made,
                };
                let made = match &repeats {
                    Some(repeats) => repeats.leave_out(&given.decided, made)?,
                    None => made,
                };
                each(export, &given, made)?;
            }
            Ok(())
        };
        let (read, taken) = in_order(size, work, take, read);
        taken?;
        if let ControlFlow::Break(Some(error)) = read? {
            return Err(error.into());
        }
        self.runs = runs;
        Ok(())
    }

    /// Decides which prompt is in which split, where there are several.
    fn assign(&mut self, store: &Store) -> Result<Assignment, ExportError> {
        if self.splits.len() == 1 {
            return Ok(Assignment::default());
        }
        let mut census = Census::begin()?;
        self.each(store, |_, given, made| {
            if let Made::Row { .. } = made {
                census.count(given.key, &given.chain.prompt_messages)?;
            }
            Ok(())
        })?;
        census.join_alike()?;
        let assignment = census.assign(&self.splits, self.options.seed)?;
        if self.replay.is_some() {
            self.held_back = Some(census.elsewhere()?);
        }
        self.manifest.division = Some(Division {
            splits: self.splits.source(),
            seed: self.options.seed,
            groups: assignment.groups,
        });
        Ok(assignment)
    }

    fn rows(&mut self, store: &Store) -> Result<(), ExportError> {
        let mut last = String::new();
        self.each(store, |export, given, made| {
            if last != given.chain.row.chain_id {
                last.clone_from(&given.chain.row.chain_id);
                export.manifest.chains += 1;
            }
            export.made(given, made)
        })?;
        self.manifest.runs = self.runs.iter().map(|run| RunEntry::of(run)).collect();
        if self.manifest.rows == 0 {
            return Err(ExportError::NoRows(self.manifest.why_no_rows()));
        }
        self.replay_up_to(|replay, rows| replay.wanted_at_the_end(rows))
    }

    fn made(&mut self, given: &Given, made: Made) -> Result<(), ExportError> {
        let chain = &given.chain.row;
        let (row, lesson, flags) = match made {
            Made::Row { row, lesson, flags } => (row, lesson, flags),
            Made::Misfit(refused) => return self.drop(chain, None, &refused),
            Made::Dropped { step, refused } => return self.drop(chain, step, &refused),
        };
        self.languages.look(&lesson);
        for flag in flags {
            count(&mut self.manifest.flags, flag.as_str());
        }
        let side = self.assignment.side(given.key);
        self.write(side, &row)?;
        self.pair(side, &lesson, Some((chain, given.decided.decision())))?;
        self.replay_up_to(|replay, rows| replay.wanted(rows))
    }

    fn write(&mut self, side: usize, row: &Value) -> Result<(), ExportError> {
        self.manifest.rows += 1;
        self.shards[side].row(self.folder, row)
    }

    /// Says of the pair that was written last how far its texts lie apart.
    fn pair(
        &mut self,
        side: usize,
        lesson: &Lesson,
        chain: Option<(&ChainRow, Option<&Decision>)>,
    ) -> Result<(), ExportError> {
        let Some(pairs) = &mut self.pairs else {
            return Ok(());
        };
        let split = self.splits.names().nth(side).unwrap_or_default();
        let (chain, decision) = chain.unzip();
        let place = (split, self.shards[side].rows());
        pairs.add(place, lesson, chain, decision.flatten())
    }

    /// Mixes general data into the first split until there is as much of it as wanted. Other splits stay
    /// free of it, and what they ask is left out.
    fn replay_up_to(&mut self, wanted: impl Fn(&Replay, u64) -> u64) -> Result<(), ExportError> {
        let Some(mut replay) = self.replay.take() else {
            return Ok(());
        };
        let rows = self.shards[0].rows() - replay.rows();
        let draws = self.options.format.draws();
        while replay.rows() < wanted(&replay, rows) {
            let Some(lesson) = replay.next(draws)? else {
                break;
            };
            let elsewhere = self.assignment.side(prompt_key(lesson.prompt())) != 0
                || match &self.held_back {
                    Some(known) => known.holds(lesson.prompt())?,
                    None => false,
                };
            match self.maker.row(&lesson) {
                Ok(row) if !elsewhere => {
                    self.write(0, &row)?;
                    self.pair(0, &lesson, None)?;
                    replay.taken();
                }
                _ => replay.passed_over(),
            }
        }
        self.replay = Some(replay);
        Ok(())
    }

    fn drop(
        &mut self,
        row: &ChainRow,
        step: Option<u32>,
        refused: &Refused,
    ) -> Result<(), ExportError> {
        count(&mut self.manifest.dropped, &refused.name);
        self.dropped_lines += 1;
        self.dropped.line(&dropped(row, step, refused))
    }

    fn finish(mut self, store: &Store) -> Result<Manifest, ExportError> {
        self.manifest.replay = self.replay.as_ref().map(Replay::entry);
        let mut files = Vec::new();
        for shards in self.shards {
            let Some((split, closed)) = shards.close()? else {
                continue;
            };
            self.manifest.splits.push(split);
            files.extend(closed);
        }
        files.push(self.dropped.close(self.dropped_lines)?.named(DROPPED_FILE));
        if let Some(pairs) = self.pairs {
            files.push(pairs.close()?);
        }
        let entries =
            |files: &[folder::Closed]| files.iter().map(|file| file.entry().clone()).collect();
        self.manifest.files = entries(&files);
        let principles =
            store.principle_stats(&self.options.filter, self.options.run.as_deref())?;
        let card = card::card(&card::Facts {
            manifest: &self.manifest,
            options: self.options,
            columns: &self.columns,
            runs: &self.runs,
            principles: &principles,
            languages: &self.languages,
            gates: &self.maker.drawing.gating.figures,
        });
        let mut texts = vec![(card::FILE.to_owned(), card)];
        texts.extend(recipes::files(
            self.options.format,
            self.options.kind,
            &self.manifest,
        ));
        for (name, text) in texts {
            let mut file = self.folder.create()?;
            file.bytes(text.as_bytes())?;
            files.push(file.close(text.lines().count() as u64)?.named(name));
        }
        self.manifest.files = entries(&files);
        let mut manifest = self.folder.create_manifest()?;
        manifest.bytes(self.manifest.to_text().as_bytes())?;
        files.push(manifest.close(0)?.named(manifest::FILE));
        for file in files {
            file.publish(self.folder)?;
        }
        self.folder.drop_stale(&self.manifest);
        self.folder.settle();
        Ok(self.manifest)
    }
}

/// A chain as it is read, and its run.
type Read = (ChainDetail, Arc<RunDetail>);

/// A run, which is read when it is first met.
fn run_of(
    store: &Store,
    met: &mut Vec<Arc<RunDetail>>,
    run_id: &str,
) -> Result<Arc<RunDetail>, StoreError> {
    let known = |run: &&Arc<RunDetail>| run.row.run_id == run_id;
    if let Some(run) = met.iter().rev().find(known) {
        return Ok(Arc::clone(run));
    }
    let run = Arc::new(store.run(run_id)?);
    met.push(Arc::clone(&run));
    Ok(run)
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

#[cfg(test)]
mod tests;

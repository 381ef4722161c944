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
mod layouts;
mod lesson;
mod manifest;
mod options;
mod pairs;
mod recipes;
mod replay;
mod shards;
mod split;
mod steps;
mod table;
pub mod verify;

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};

use crate::quality::gates::{Gating, Refused};
use crate::quality::similar::{Known, PromptPrint};
use crate::store::{ChainDetail, ChainRow, Depth, RunDetail, Store};

pub use card::{CardOptions, is_license};
use columns::Column;
use draw::{Drawing, Drawn, plain};
pub use error::ExportError;
use folder::{Folder, Output};
pub use format::Format;
use lesson::{Draws, Lesson, Misfit, apart};
pub use manifest::{Division, FileEntry, Manifest, ReplayEntry, RunEntry, SplitEntry};
pub use options::ExportOptions;
use options::{PROBABILITY, check, columns_of};
use pairs::Pairs;
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
    drawing: Drawing<'a>,
    folder: &'a Folder,
    columns: Vec<Column>,
    splits: Splits,
    assignment: Assignment,
    /// Prompts of other splits than the first, which general data must not ask again.
    held_back: Known,
    shards: Vec<Shards>,
    replay: Option<Replay>,
    dropped: Output,
    dropped_lines: u64,
    /// `None` where rows are no pairs.
    pairs: Option<Pairs>,
    manifest: Manifest,
    runs: Vec<RunDetail>,
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
            drawing: Drawing {
                draws: options.format.draws(),
                all_rounds: options.all_rounds,
                benign: options.benign,
                gating,
            },
            folder,
            shards: shards.collect(),
            columns,
            splits,
            assignment: Assignment::default(),
            held_back: Known::default(),
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

    /// Hands out what every chain gives, in order.
    fn each(
        &mut self,
        store: &Store,
        mut each: impl FnMut(&mut Self, &ChainDetail, Drawn) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let (options, drawing) = (self.options, self.drawing);
        let draws = drawing.draws;
        let depth = match draws {
            Draws::Critiques => Depth::Calls,
            // Whether a draft for a control prompt is sound, verdicts say.
            Draws::Answers | Draws::Pairs if !drawing.benign => Depth::Responses,
            _ => Depth::Texts,
        };
        let mut seen = HashSet::new();
        let mut one = |export: &mut Self, chain: ChainDetail| {
            let run = export.run(store, &chain.row.run_id)?;
            let constitution = &export.runs[run].constitution;
            for drawn in drawing.draw(&chain, constitution) {
                let lesson = matches!(drawn, Drawn::Lesson { .. });
                let again = lesson
                    && draws == Draws::Prompts
                    && !seen.insert(prompt_key(&chain.prompt_messages));
                let drawn = match again {
                    true => Drawn::dropped(None, plain("prompt-seen")),
                    false => drawn,
                };
                each(export, &chain, drawn)?;
            }
            Ok(())
        };
        let run = options.run.as_deref();
        let flow = store.for_each_whole_chain(&options.filter, run, depth, |chain| {
            match one(self, chain) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        })?;
        match flow {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// The place of a run among those met so far.
    fn run(&mut self, store: &Store, run_id: &str) -> Result<usize, ExportError> {
        let known = |run: &RunDetail| run.row.run_id == run_id;
        if let Some(place) = self.runs.iter().rposition(known) {
            return Ok(place);
        }
        self.runs.push(store.run(run_id)?);
        Ok(self.runs.len() - 1)
    }

    /// Decides which prompt is in which split, where there are several.
    fn assign(&mut self, store: &Store) -> Result<Assignment, ExportError> {
        if self.splits.len() == 1 {
            return Ok(Assignment::default());
        }
        let mut census = Census::default();
        self.each(store, |export, chain, drawn| {
            if let Drawn::Lesson { lesson, .. } = drawn
                && export.row(&lesson).is_ok()
            {
                census.count(&chain.prompt_messages);
            }
            Ok(())
        })?;
        census.join_alike();
        let assignment = census.assign(&self.splits, self.options.seed);
        if self.replay.is_some() {
            self.held_back = census.elsewhere(&assignment);
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
        self.each(store, |export, chain, drawn| {
            if last != chain.row.chain_id {
                last.clone_from(&chain.row.chain_id);
                export.manifest.chains += 1;
            }
            export.drawn(chain, drawn)
        })?;
        self.manifest.runs = self.runs.iter().map(RunEntry::of).collect();
        if self.manifest.rows == 0 {
            return Err(ExportError::NoRows(self.manifest.why_no_rows()));
        }
        self.replay_up_to(|replay, rows| replay.wanted_at_the_end(rows))
    }

    fn drawn(&mut self, chain: &ChainDetail, drawn: Drawn) -> Result<(), ExportError> {
        let (lesson, flags) = match drawn {
            Drawn::Lesson { lesson, flags } => (lesson, flags),
            Drawn::Dropped { step, refused } => return self.drop(&chain.row, step, &refused),
        };
        let row = match self.row(&lesson) {
            Ok(row) => row,
            Err(refused) => return self.drop(&chain.row, None, &refused),
        };
        self.languages.look(&lesson);
        for flag in flags {
            count(&mut self.manifest.flags, flag.as_str());
        }
        let side = self.assignment.side(prompt_key_of(chain, &self.splits));
        self.write(side, &row)?;
        self.pair(side, &lesson, Some(&chain.row))?;
        self.replay_up_to(|replay, rows| replay.wanted(rows))
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Refused> {
        // Templates refuse turns out of order, and trainers find that out one by one.
        if apart(lesson.prompt()).is_none() {
            return Err(plain(Misfit::RolesDoNotAlternate.name()));
        }
        let row = self.options.format.layout().row(lesson);
        let mut row = row.map_err(|misfit| plain(misfit.name()))?;
        if self
            .columns
            .last()
            .is_some_and(|column| column.name == PROBABILITY)
            && let Lesson::Pair { probability, .. } = lesson
        {
            row[PROBABILITY] = (*probability).into();
        }
        Ok(row)
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
        chain: Option<&ChainRow>,
    ) -> Result<(), ExportError> {
        let Some(pairs) = &mut self.pairs else {
            return Ok(());
        };
        let split = self.splits.names().nth(side).unwrap_or_default();
        let gating = self.drawing.gating;
        let decision = chain.and_then(|chain| gating.decision(&chain.chain_id));
        pairs.add((split, self.shards[side].rows()), lesson, chain, decision)
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
                || self.splits.len() > 1 && self.held_back.holds(&PromptPrint::of(lesson.prompt()));
            match self.row(&lesson) {
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
            gates: &self.drawing.gating.figures,
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

/// Only where it is asked for: it is a hash of every word.
fn prompt_key_of(chain: &ChainDetail, splits: &Splits) -> u64 {
    match splits.len() {
        1 => 0,
        _ => prompt_key(&chain.prompt_messages),
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

#[cfg(test)]
mod tests;

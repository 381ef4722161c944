//! How far the texts of every pair lie apart. Trainers prescribe the columns of a row, so this stands in a file
//! of its own, line by line for the rows.

use serde::Serialize;

use crate::diff::changed_share;
use crate::quality::gates::Decision;
use crate::quality::pair::{Contrast, Origin, Why};
use crate::store::{ChainRow, length_ratio};

use super::ExportError;
use super::folder::{Closed, Folder, Output};
use super::lesson::Lesson;

/// The file that says of every pair how far its texts lie apart.
pub const FILE: &str = "pairs.jsonl";

/// The file under way.
pub(super) struct Pairs {
    out: Output,
    lines: u64,
}

/// What is said of a row. General data that was mixed in has no chain.
#[derive(Serialize)]
struct Line<'a> {
    split: &'a str,
    /// Its number in the split, from 1.
    row: u64,
    #[serde(flatten)]
    chain: Option<Chain<'a>>,
    #[serde(flatten)]
    texts: Option<Texts>,
    #[serde(flatten)]
    contrast: Contrast,
}

#[derive(Serialize)]
struct Chain<'a> {
    chain_id: &'a str,
    run_id: &'a str,
    prompt_id: &'a str,
    sample: u32,
}

/// Which texts of the chain they are, and why one is preferred.
#[derive(Serialize)]
struct Texts {
    chosen: Origin,
    rejected: Option<Origin>,
    why: &'static str,
}

impl Pairs {
    /// Begins the file.
    pub fn begin(folder: &Folder) -> Result<Self, ExportError> {
        Ok(Self {
            out: folder.create()?,
            lines: 0,
        })
    }

    /// Adds the row that was written last to a split; `row` is its number there. Other rows than pairs are passed
    /// over.
    pub fn add(
        &mut self,
        (split, row): (&str, u64),
        lesson: &Lesson,
        chain: Option<&ChainRow>,
        decision: Option<&Decision>,
    ) -> Result<(), ExportError> {
        let (contrast, texts) = match (lesson, decision) {
            (Lesson::Pair { .. }, Some(decision)) => {
                let texts = Texts {
                    chosen: decision.chosen,
                    rejected: decision.rejected,
                    why: decision.why.as_str(),
                };
                (decision.contrast, Some(texts))
            }
            (
                Lesson::Pair {
                    chosen, rejected, ..
                },
                None,
            ) => (between(rejected, chosen), None),
            // A round is no pair that gates have decided about: its revision is the later text.
            (Lesson::Revision(round), _) => {
                let texts = round.from.map(|[chosen, rejected]| Texts {
                    chosen,
                    rejected: Some(rejected),
                    why: Why::Later.as_str(),
                });
                (between(&round.response, &round.revision), texts)
            }
            _ => return Ok(()),
        };
        self.lines += 1;
        self.out.line(&Line {
            split,
            row,
            chain: chain.map(|chain| Chain {
                chain_id: &chain.chain_id,
                run_id: &chain.run_id,
                prompt_id: &chain.prompt_id,
                sample: chain.sample,
            }),
            texts,
            contrast,
        })
    }

    /// Gives the file its name.
    pub fn close(self) -> Result<Closed, ExportError> {
        Ok(self.out.close(self.lines)?.named(FILE))
    }
}

/// Of two texts that no judge has compared.
fn between(rejected: &str, chosen: &str) -> Contrast {
    Contrast {
        edit_distance: changed_share(rejected, chosen),
        length_ratio: length_ratio(rejected, chosen),
        margin: None,
    }
}

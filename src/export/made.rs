//! What chains give, as rows of a format: all that is done about every chain by itself, on any thread.

use serde_json::Value;

use crate::chain::Flag;
use crate::constitution::Constitution;
use crate::quality::gates::{Decided, Refused};
use crate::store::ChainDetail;

use super::draw::{Drawing, Drawn, plain};
use super::format::Format;
use super::lesson::{Lesson, Misfit, apart};
use super::options::PROBABILITY;
use super::split::prompt_key;

/// What became of a text.
pub(super) enum Made {
    /// A row, the lesson that it holds, and the flags of the text that it teaches.
    Row {
        row: Value,
        lesson: Lesson,
        flags: Vec<Flag>,
    },
    /// A lesson that the format has no room for.
    Misfit(Refused),
    /// Nothing to learn. `step` is set where a chain can give several.
    Dropped { step: Option<u32>, refused: Refused },
}

/// A chain and what it gives.
pub(super) struct Given {
    pub chain: ChainDetail,
    /// What the gates decided about it.
    pub decided: Decided,
    /// What tells its prompt from others; 0 where nothing asks for it.
    pub key: u64,
    pub made: Vec<Made>,
}

/// Makes rows.
#[derive(Clone, Copy)]
pub(super) struct Maker<'a> {
    pub drawing: Drawing<'a>,
    pub format: Format,
    /// Whether rows of pairs have the judge's probability.
    pub soft_labels: bool,
    /// Whether prompts have to be told apart: that is a hash of every word.
    pub keys: bool,
}

impl Maker<'_> {
    /// What a chain gives.
    pub fn given(self, chain: ChainDetail, decided: Decided, constitution: &Constitution) -> Given {
        let drawn = self.drawing.draw(&chain, &decided, constitution);
        Given {
            key: match self.keys {
                true => prompt_key(&chain.prompt_messages),
                false => 0,
            },
            made: drawn.into_iter().map(|drawn| self.made(drawn)).collect(),
            chain,
            decided,
        }
    }

    fn made(self, drawn: Drawn) -> Made {
        match drawn {
            Drawn::Lesson { lesson, flags } => match self.row(&lesson) {
                Ok(row) => Made::Row { row, lesson, flags },
                Err(refused) => Made::Misfit(refused),
            },
            Drawn::Dropped { step, refused } => Made::Dropped { step, refused },
        }
    }

    /// A lesson as a row.
    pub fn row(self, lesson: &Lesson) -> Result<Value, Refused> {
        // Templates refuse turns out of order, and trainers find that out one by one.
        if apart(lesson.prompt()).is_none() {
            return Err(plain(Misfit::RolesDoNotAlternate.name()));
        }
        let row = self.format.layout().row(lesson);
        let mut row = row.map_err(|misfit| plain(misfit.name()))?;
        if self.soft_labels
            && let Lesson::Pair { probability, .. } = lesson
        {
            row[PROBABILITY] = (*probability).into();
        }
        Ok(row)
    }
}

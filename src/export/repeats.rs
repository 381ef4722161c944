//! Drafts for control prompts that are there already. Gates leave control prompts out before they look for duplicates,
//! so nothing else does.

use crate::generation::Message;
use crate::quality::gates::{Decided, Gate};
use crate::store::{Scratch, Shelf, StoreError};

use super::draw::{Drawing, is_control, plain};
use super::lesson::Lesson;
use super::made::Made;
use super::split::prompt_key;

/// The rows so far: what a row teaches, and whether it is a draft for a control prompt. They lie on disk.
pub(super) struct Repeats {
    seen: Scratch,
}

impl Repeats {
    /// `None` where drafts for control prompts are no rows, or duplicates are kept.
    ///
    /// # Errors
    ///
    /// Here and below: when there is no room for a temporary file.
    pub fn of(drawing: Drawing<'_>) -> Result<Option<Self>, StoreError> {
        let wanted = drawing.benign && drawing.gating.settings.duplicate;
        let seen = wanted.then(Scratch::begin).transpose()?;
        Ok(seen.map(|seen| Self { seen }))
    }

    /// Leaves a row out that is there already, where one of the two is a draft for a control prompt: about all others
    /// the gates have decided.
    pub fn leave_out(&self, decided: &Decided, made: Made) -> Result<Made, StoreError> {
        let Made::Row { lesson, .. } = &made else {
            return Ok(made);
        };
        let control = is_control(decided);
        let (label, key) = taught(lesson);
        let before = self.seen.meet(label, key, control.into())?;
        Ok(match before {
            Some(before) if control || before > 0 => Made::Dropped {
                step: None,
                refused: plain(Gate::Duplicate.as_str()),
            },
            _ => made,
        })
    }
}

/// The label that a row has, as a shelf, and its conversation with the answer, case and white space aside.
fn taught(lesson: &Lesson) -> (Shelf, u64) {
    let mut conversation = lesson.prompt().to_vec();
    conversation.extend(lesson.answers().into_iter().map(Message::assistant));
    let label = match lesson {
        Lesson::Unpaired { good, .. } => 1 + Shelf::from(*good),
        _ => 0,
    };
    (label, prompt_key(&conversation))
}

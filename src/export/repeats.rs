//! Drafts for control prompts that are there already. Gates leave control prompts out before they look for duplicates,
//! so nothing else does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::generation::Message;
use crate::quality::gates::{Decided, Gate};

use super::draw::{Drawing, is_control, plain};
use super::lesson::Lesson;
use super::made::Made;
use super::split::prompt_key;

/// The rows so far: what a row teaches, and whether it is a draft for a control prompt.
pub(super) struct Repeats {
    seen: HashMap<Taught, bool>,
}

/// A conversation with its answer, case and white space aside, and the label that it has.
type Taught = (u64, Option<bool>);

impl Repeats {
    /// `None` where drafts for control prompts are no rows, or duplicates are kept.
    pub fn of(drawing: Drawing<'_>) -> Option<Self> {
        let wanted = drawing.benign && drawing.gating.settings.duplicate;
        wanted.then(|| Self {
            seen: HashMap::new(),
        })
    }

    /// Leaves a row out that is there already, where one of the two is a draft for a control prompt: about all others
    /// the gates have decided.
    pub fn leave_out(&mut self, decided: &Decided, made: Made) -> Made {
        let Made::Row { lesson, .. } = &made else {
            return made;
        };
        let control = is_control(decided);
        let before = match self.seen.entry(taught(lesson)) {
            Entry::Vacant(place) => {
                place.insert(control);
                return made;
            }
            Entry::Occupied(place) => *place.get(),
        };
        match control || before {
            true => Made::Dropped {
                step: None,
                refused: plain(Gate::Duplicate.as_str()),
            },
            false => made,
        }
    }
}

fn taught(lesson: &Lesson) -> Taught {
    let mut conversation = lesson.prompt().to_vec();
    conversation.extend(lesson.answers().into_iter().map(Message::assistant));
    let label = match lesson {
        Lesson::Unpaired { good, .. } => Some(*good),
        _ => None,
    };
    (prompt_key(&conversation), label)
}

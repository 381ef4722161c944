//! Labels: what people say about chains.
//!
//! A label is an entry in a history that only grows, with time and name. What holds for a chain follows from
//! the entries that nobody took back: the last `accept`, `reject` or `edit` is its label, the text of the
//! last `edit` is what is exported in place of the final text, and the last `agree` or `disagree` about a
//! step says what a person thinks of its verdict. Nothing that a run wrote is ever changed.
//!
//! Every method is one short transaction, so that a run that writes at the same time is not held up.

mod history;
mod write;

use serde::{Deserialize, Serialize};

pub use write::Labels;

use super::StoreError;

/// The longest name of a person, in characters.
const MAX_WHO: usize = 200;
/// The longest text of an edit or a note, in bytes.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// What holds for a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Its text may be learned from.
    Accept,
    /// It must not be learned from.
    Reject,
    /// A person wrote a better text.
    Edit,
}

impl Label {
    /// Every label.
    pub const ALL: [Label; 3] = [Label::Accept, Label::Reject, Label::Edit];

    /// The name used in the store and in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Label::Accept => "accept",
            Label::Reject => "reject",
            Label::Edit => "edit",
        }
    }
}

/// What somebody says about a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelAction {
    /// Its text may be learned from; after an edit, the edited text.
    Accept,
    /// It must not be learned from.
    Reject,
    /// This text is better than the final one.
    Edit(String),
    /// A remark.
    Note(String),
    /// The verdict of this step (by ordinal) is right.
    Agree(u32),
    /// The verdict of this step (by ordinal) is wrong.
    Disagree(u32),
}

impl LabelAction {
    pub(super) fn kind(&self) -> LabelKind {
        match self {
            LabelAction::Accept => LabelKind::Accept,
            LabelAction::Reject => LabelKind::Reject,
            LabelAction::Edit(_) => LabelKind::Edit,
            LabelAction::Note(_) => LabelKind::Note,
            LabelAction::Agree(_) => LabelKind::Agree,
            LabelAction::Disagree(_) => LabelKind::Disagree,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            LabelAction::Edit(text) | LabelAction::Note(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn step(&self) -> Option<u32> {
        match self {
            LabelAction::Agree(step) | LabelAction::Disagree(step) => Some(*step),
            _ => None,
        }
    }

    /// Whether it speaks of the chain's final text, which a chain that runs does not have.
    pub(super) fn needs_end(&self) -> bool {
        matches!(
            self,
            LabelAction::Accept | LabelAction::Reject | LabelAction::Edit(_)
        )
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        let Some(text) = self.text() else {
            return Ok(());
        };
        let what = self.kind().as_str();
        if text.trim().is_empty() {
            return Err(StoreError::Label(format!(
                "the text of the {what} is blank"
            )));
        }
        if text.len() > MAX_TEXT {
            return Err(StoreError::Label(format!(
                "the text of the {what} has {} bytes; at most {MAX_TEXT} are kept",
                text.len()
            )));
        }
        Ok(())
    }
}

/// What an entry of the history does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LabelKind {
    Accept,
    Reject,
    Edit,
    Note,
    Agree,
    Disagree,
    /// Takes back the last entry that stood.
    Undo,
}

impl LabelKind {
    /// The name used in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            LabelKind::Accept => "accept",
            LabelKind::Reject => "reject",
            LabelKind::Edit => "edit",
            LabelKind::Note => "note",
            LabelKind::Agree => "agree",
            LabelKind::Disagree => "disagree",
            LabelKind::Undo => "undo",
        }
    }
}

/// One row of `v_labels`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelEntry {
    /// The chain.
    pub chain_id: String,
    /// Its place in the chain's history, from 1.
    pub ordinal: u32,
    /// When, ISO 8601, UTC.
    pub at: String,
    /// Who.
    pub who: String,
    /// What.
    pub action: LabelKind,
    /// Of an agreement: the ordinal of the step with the verdict.
    pub step: Option<u32>,
    /// Of an agreement: the principle of that step.
    pub principle_id: Option<String>,
    /// Of an edit or a note: the text.
    pub text: Option<String>,
    /// Of an undo: the ordinal of the entry that it takes back.
    pub undoes: Option<u32>,
    /// Whether it counts: it is no undo, and nobody took it back.
    pub standing: bool,
}

/// What the history of a chain amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CurrentLabel {
    /// Its label.
    pub label: Option<Label>,
    /// The text of the last edit that stands: what is exported in place of the final text.
    pub chosen: Option<String>,
    /// The last note that stands.
    pub note: Option<String>,
    /// Steps whose verdict a person judged, in order.
    pub agreements: Vec<Agreement>,
}

/// What a person thinks of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// The ordinal of the step.
    pub step: u32,
    /// Its principle.
    pub principle_id: Option<String>,
    /// Whether the verdict is right.
    pub agreed: bool,
}

/// What can be said about many chains at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkAction {
    /// As [`LabelAction::Accept`].
    Accept,
    /// As [`LabelAction::Reject`].
    Reject,
    /// As [`LabelAction::Note`].
    Note(String),
    /// As [`Labels::undo`]; chains on which nothing stands are left out.
    Undo,
}

impl BulkAction {
    fn kind(&self) -> LabelKind {
        match self {
            BulkAction::Accept => LabelKind::Accept,
            BulkAction::Reject => LabelKind::Reject,
            BulkAction::Note(_) => LabelKind::Note,
            BulkAction::Undo => LabelKind::Undo,
        }
    }
}

fn checked_name(who: &str) -> Result<&str, StoreError> {
    let who = who.trim();
    let fits = !who.is_empty() && who.chars().count() <= MAX_WHO;
    if fits && !who.chars().any(char::is_control) {
        return Ok(who);
    }
    Err(StoreError::Label(format!(
        "a name has 1 to {MAX_WHO} characters on one line; say who labels with --who"
    )))
}

//! Which texts of a chain are fit to be learned from.

use std::borrow::Cow;

use crate::chain::{Flag, StepKind};
use crate::store::{ChainDetail, ChainState, StepDetail};

/// Why a text gives no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The chain ended with an error.
    Failed,
    /// The chain has not ended.
    Running,
    /// The final text, or that of the step, is blank.
    EmptyFinal,
    /// There is no draft to prefer the final text to.
    EmptyDraft,
    /// Chosen and rejected are the same, or a revision repeats an earlier row.
    EqualTexts,
    /// The text shows a failure mode that must not be taught.
    Flagged(Flag),
}

impl Reason {
    /// The name used in the manifest.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Reason::Failed => "failed".into(),
            Reason::Running => "running".into(),
            Reason::EmptyFinal => "empty-final".into(),
            Reason::EmptyDraft => "empty-draft".into(),
            Reason::EqualTexts => "equal-texts".into(),
            Reason::Flagged(flag) => format!("flagged-{}", flag.as_str()).into(),
        }
    }
}

/// Refuses chains that have no final text.
pub(super) fn ended(chain: &ChainDetail) -> Result<(), Reason> {
    match chain.row.status {
        ChainState::Done => Ok(()),
        ChainState::Running => Err(Reason::Running),
        ChainState::Failed => Err(Reason::Failed),
    }
}

/// The steps whose outputs became the chain's response, in order: draft, then adopted revisions.
pub(super) fn adopted(chain: &ChainDetail) -> impl Iterator<Item = &StepDetail> {
    chain
        .steps
        .iter()
        .filter(|step| step.adopted && matches!(step.kind, StepKind::Draft | StepKind::Revision))
}

/// The final text and the flags of the step that wrote it.
pub(super) fn final_text(chain: &ChainDetail) -> Result<(&str, &[Flag]), Reason> {
    ended(chain)?;
    let text = chain.row.last.as_deref().unwrap_or_default();
    let flags = adopted(chain).last().map_or(&[][..], |step| &step.flags);
    teachable(text, flags)?;
    Ok((text, flags))
}

/// Refuses texts that would teach a failure mode.
pub(super) fn teachable(text: &str, flags: &[Flag]) -> Result<(), Reason> {
    if text.trim().is_empty() {
        return Err(Reason::EmptyFinal);
    }
    match flags.iter().find(|flag| spoils(**flag)) {
        Some(flag) => Err(Reason::Flagged(*flag)),
        None => Ok(()),
    }
}

/// Whether a text with this flag holds no answer at all. Any other failure mode leaves an answer: it is
/// written and counted in the manifest, and a filter such as `not flag:preamble` leaves it out.
fn spoils(flag: Flag) -> bool {
    match flag {
        Flag::Empty | Flag::CritiqueRepeated | Flag::NoRevision | Flag::ThinkUnclosed => true,
        Flag::Preamble
        | Flag::Unchanged
        | Flag::RolesSwapped
        | Flag::PrincipleQuoted
        | Flag::Repetition
        | Flag::Truncated
        | Flag::InvalidUtf8
        | Flag::QuoteUnverified
        | Flag::NoVerdict => false,
    }
}

//! What a judge is told: three files that a pack may have besides those of its chains.
//!
//! `judge.yaml` asks which of two responses keeps a principle better, to be answered by a letter.
//! `reason.yaml` asks for reasons first, and `conclude.yaml` for the letter after them.

use super::compile::Entry;
use super::{Pack, PackError, variables};
use crate::chain::StepKind;
use crate::constitution::Principle;
use crate::digest::Digest;
use crate::generation::Message;

/// A file of a pack about judging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgeStep {
    /// Asks for the letter at once.
    Judge,
    /// Asks for reasons.
    Reason,
    /// Asks for the letter after the reasons.
    Conclude,
}

impl JudgeStep {
    /// All of them.
    pub const ALL: [JudgeStep; 3] = [JudgeStep::Judge, JudgeStep::Reason, JudgeStep::Conclude];

    /// The name of its file, without the ending.
    pub fn as_str(self) -> &'static str {
        match self {
            JudgeStep::Judge => "judge",
            JudgeStep::Reason => "reason",
            JudgeStep::Conclude => "conclude",
        }
    }
}

/// A file of a pack with messages in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Of a chain.
    Chain(StepKind),
    /// Of a judge.
    Judge(JudgeStep),
}

impl From<StepKind> for Part {
    fn from(step: StepKind) -> Self {
        Part::Chain(step)
    }
}

impl From<JudgeStep> for Part {
    fn from(step: JudgeStep) -> Self {
        Part::Judge(step)
    }
}

impl Part {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Part::Chain(step) => step.as_str(),
            Part::Judge(step) => step.as_str(),
        }
    }

    pub(super) fn file_name(self) -> String {
        format!("{}.yaml", self.as_str())
    }

    /// Whether a pack may lack it. Reasons and conclusion come together.
    pub(super) fn is_optional(self, there: &dyn Fn(Part) -> bool) -> bool {
        match self {
            Part::Chain(StepKind::Recheck) | Part::Judge(JudgeStep::Judge) => true,
            Part::Chain(_) => false,
            Part::Judge(JudgeStep::Reason) => !there(JudgeStep::Conclude.into()),
            Part::Judge(JudgeStep::Conclude) => !there(JudgeStep::Reason.into()),
        }
    }
}

/// Two responses as a judge is shown them.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// The prompt's own messages.
    pub conversation: &'a [Message],
    /// What the person says last.
    pub prompt: &'a str,
    /// The response shown as (A).
    pub a: &'a str,
    /// The response shown as (B).
    pub b: &'a str,
    /// The principle that decides. Where its text speaks of `response` or `draft`, "the response" stands.
    pub principle: &'a Principle,
    /// The name of the constitution.
    pub constitution_name: &'a str,
    /// What the model wrote when asked for reasons; empty before.
    pub reasoning: &'a str,
}

impl Pack {
    /// Whether the pack has the given file about judging.
    pub fn has_judge(&self, step: JudgeStep) -> bool {
        self.has(step.into())
    }

    pub(super) fn has(&self, part: Part) -> bool {
        self.steps.contains_key(part.as_str()) || part == StepKind::Recheck.into()
    }

    /// The digest of what the pack says to judges, which is no part of [`digest`](Pack::digest).
    pub fn judge_digest(&self) -> Digest {
        self.judge_digest.clone()
    }

    /// The messages for a judge.
    ///
    /// # Errors
    ///
    /// When the pack has no such file, or a template fails.
    pub fn render_judge(
        &self,
        step: JudgeStep,
        compared: &Comparison<'_>,
    ) -> Result<Vec<Message>, PackError> {
        let Some(entries) = self.steps.get(step.as_str()) else {
            return Err(PackError::Unreadable(format!(
                "the pack `{}` has no {}.yaml, so it cannot judge; add the file, or use --pack default",
                self.name,
                step.as_str()
            )));
        };
        let values = variables::of_comparison(compared)?;
        let mut messages = Vec::new();
        for entry in entries {
            self.expand_judge(entry, compared, &values, &mut messages)?;
        }
        self.ends_well(step.into(), messages)
    }

    fn expand_judge(
        &self,
        entry: &Entry,
        compared: &Comparison<'_>,
        values: &minijinja::Value,
        messages: &mut Vec<Message>,
    ) -> Result<(), PackError> {
        match entry {
            Entry::Message { role, template } => {
                messages.push(Message::new(*role, self.content(template, values)?));
            }
            Entry::Conversation => messages.extend_from_slice(compared.conversation),
            Entry::Reasoning => {
                messages.extend(self.render_judge(JudgeStep::Reason, compared)?);
                messages.push(Message::assistant(compared.reasoning));
            }
            // Only revisions may hold it.
            Entry::Critique => {}
            Entry::Examples(entries) => {
                for example in &compared.principle.examples {
                    let values = variables::with_example(values, example);
                    for entry in entries {
                        self.expand_judge(entry, compared, &values, messages)?;
                    }
                }
            }
        }
        Ok(())
    }
}

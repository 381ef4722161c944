//! What the model is asked for each step.

use crate::chain::StepKind;
use crate::generation::{Generate, Message, Request};
use crate::template::{CritiqueStyle, PackError, Vars};
use crate::verdict;

use super::{ChainMachine, State};

/// The temperature of a second try at a verdict when the first was greedy: greedy again would say the same.
const RETRY_TEMPERATURE: f64 = 0.7;

/// The most tokens of a verdict's prose, where a reply may be longer.
const CRITIQUE_TOKENS: u32 = 160;

impl ChainMachine {
    pub(super) fn request(&self) -> Result<Request, PackError> {
        let attempt = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        let seed = self.seed().step(self.ordinal, attempt);
        let mut sampling = self.plan.sampling.clone();
        let kind = self.kind();
        let asks_verdict = kind == StepKind::Recheck
            || (kind == StepKind::Critique && self.plan.pack.critique == CritiqueStyle::Verdict);
        let shape = asks_verdict.then(|| {
            verdict::shape(
                self.plan.threshold,
                CRITIQUE_TOKENS.min(sampling.max_tokens),
            )
        });
        if attempt > 0 && sampling.temperature <= 0.0 {
            sampling.temperature = RETRY_TEMPERATURE;
        }
        let messages = self.messages(kind)?;
        // Revisions repeat the response, and verdicts quote it. Prose about it does neither.
        let repeats = match kind {
            StepKind::Revision => self.current.clone(),
            _ if shape.is_some() => self.current.clone(),
            _ => None,
        };
        Ok(Request::Generate(Generate {
            messages,
            sampling,
            seed,
            shape,
            repeats,
            adapter: self.plan.adapters.get(&kind).cloned(),
        }))
    }

    fn messages(&self, kind: StepKind) -> Result<Vec<Message>, PackError> {
        let (critique, quote) = match &self.state {
            State::Revision { critique, quote } => (Some(critique.as_str()), quote.as_deref()),
            _ => (None, None),
        };
        let vars = Vars {
            conversation: &self.start.prompt.messages,
            prompt: self.start.prompt.text(),
            draft: self.draft.as_deref(),
            response: self.current.as_deref(),
            critique,
            quote,
            principle: self.principle(),
            constitution_name: &self.plan.constitution.name,
            round: self.round,
        };
        self.plan.pack.render(kind, &vars)
    }
}

//! What a reply leads to, by the step that it belongs to.

use crate::chain::{Flag, Step};
use crate::constitution::Revise;
use crate::engine::faults::{Surroundings, of_generation, of_text, unusable};
use crate::verdict::{self, Verdict};

use super::{ChainMachine, State};

impl ChainMachine {
    /// A given draft enters the chain as it is: what it was made with stays with it.
    pub(super) fn take_draft(&mut self, draft: Step) -> Step {
        let text = draft.output;
        self.calls = draft.calls;
        for call in &mut self.calls {
            call.reused = true;
        }
        let step = self.step(text.clone(), draft.flags, None, true);
        self.draft = Some(text.clone());
        self.current = Some(text);
        self.begin_round();
        step
    }

    /// A draft without text is asked for once more, with another seed.
    pub(super) fn accept_draft(&mut self) -> Option<Step> {
        let flags = self.text_flags(None);
        let usable = !unusable(&flags);
        if !usable && self.calls.len() == 1 {
            return None;
        }
        let text = self.answer();
        let step = self.step(text.clone(), flags, None, usable);
        self.draft = Some(text.clone());
        self.current = Some(text);
        if usable {
            self.begin_round();
        } else {
            self.fail(
                "the draft holds no text, also when asked again; another --seed may help"
                    .to_owned(),
            );
        }
        Some(step)
    }

    pub(super) fn accept_prose(&mut self) -> Step {
        let flags = self.text_flags(None);
        let critique = self.answer();
        let step = self.step(critique.clone(), flags, None, false);
        // Prose holds no verdict, so nothing was found clean.
        self.disturbed = true;
        self.untouched = false;
        if self.plan.revise == Revise::Never {
            self.next_principle();
        } else {
            self.state = State::Revision {
                critique,
                quote: None,
            };
        }
        step
    }

    /// Reads a verdict. One without a quote from the response, or none at all, is asked for once more.
    pub(super) fn accept_verdict(&mut self) -> Option<Step> {
        let response = self.current.clone().unwrap_or_default();
        let call = self.calls.last()?;
        let read = verdict::read(&call.generation, &response, self.plan.threshold).ok();
        let doubtful = read
            .as_ref()
            .is_none_or(|v| v.violated && !v.quote_verified);
        if doubtful && self.calls.len() == 1 {
            self.first_verdict = read;
            return None;
        }
        // Of two doubtful verdicts the first stands, since it was drawn the way the run asked for.
        let first = self.first_verdict.take();
        let verdict = if doubtful { first.or(read) } else { read };
        let mut flags = self
            .calls
            .last()
            .map(|c| of_generation(&c.generation))
            .unwrap_or_default();
        match &verdict {
            None => flags.push(Flag::NoVerdict),
            Some(v) if v.violated && !v.quote_verified => flags.push(Flag::QuoteUnverified),
            Some(_) => {}
        }
        flags.sort_unstable();
        Some(self.judged(verdict, flags))
    }

    /// Goes on behind a critique or a recheck.
    pub(super) fn judged(&mut self, verdict: Option<Verdict>, flags: Vec<Flag>) -> Step {
        let output = verdict
            .as_ref()
            .map(|v| v.critique.clone())
            .unwrap_or_default();
        let violated = verdict.as_ref().is_some_and(|v| v.violated);
        let id = self.principle().map(|p| p.id.clone());
        let quote = verdict
            .as_ref()
            .and_then(|v| v.quote.clone().filter(|_| v.quote_verified));
        let clean = verdict.as_ref().is_some_and(|v| !v.violated);
        let step = self.step(output.clone(), flags, verdict, false);
        if let State::Recheck(n) = self.state {
            if violated {
                self.regressions.extend(id);
            }
            self.recheck(n + 1);
            return step;
        }
        self.disturbed |= !clean;
        self.untouched &= clean;
        let revise = match self.plan.revise {
            Revise::WhenViolated => violated,
            Revise::Always => true,
            Revise::Never => false,
        };
        if revise {
            self.state = State::Revision {
                critique: output,
                quote,
            };
        } else {
            self.next_principle();
        }
        step
    }

    pub(super) fn accept_revision(&mut self, critique: &str) -> Step {
        let flags = self.text_flags(Some(critique));
        let adopted = !unusable(&flags);
        let text = self.answer();
        let step = self.step(text.clone(), flags, None, adopted);
        if adopted {
            self.current = Some(text);
            self.revised = true;
            self.disturbed = true;
            let principle = self
                .queue
                .get(self.turn)
                .filter(|p| !self.mended.contains(p))
                .copied();
            self.mended.extend(principle);
        }
        self.next_principle();
        step
    }

    /// The text of the last call, as it enters the chain.
    fn answer(&self) -> String {
        self.calls
            .last()
            .map(|c| c.generation.text.trim().to_owned())
            .unwrap_or_default()
    }

    fn text_flags(&self, critique: Option<&str>) -> Vec<Flag> {
        let Some(call) = self.calls.last() else {
            return Vec::new();
        };
        let around = Surroundings {
            revised: self.current.as_deref(),
            critique,
            principle: self.principle(),
            prompt: self.start.prompt.text(),
        };
        of_text(self.kind(), &call.generation, around)
    }
}

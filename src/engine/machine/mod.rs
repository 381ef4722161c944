//! One chain as a state machine: what to do next, and what a reply leads to.
//!
//! There are no threads, no clock and no model here. A chain is a pure function of its plan, its prompt
//! and the replies it is given, so that a resumed run replays it from the start and finds itself where it
//! was.

mod replies;
mod requests;
mod rounds;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::BackendError;
use crate::chain::{Call, ChainEnd, ChainStart, Flag, Step, StepKind, StopReason};
use crate::constitution::{Constitution, Principle, Revise};
use crate::generation::{Request, SamplingParams};
use crate::template::{CritiqueStyle, Pack};
use crate::verdict::{Verdict, VerdictSource};

use super::policy::{ChainSeed, Select};

/// What is the same for every chain of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The principles.
    pub constitution: Constitution,
    /// The messages of each step.
    pub pack: Pack,
    /// Which principles.
    pub select: Select,
    /// Rounds of critique and revision.
    pub rounds: u32,
    /// When to revise.
    pub revise: Revise,
    /// Whether to ask again at the end.
    pub recheck: bool,
    /// The least P(violated) that counts as violated.
    pub threshold: f64,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// What all seeds derive from.
    pub seed: u64,
    /// The LoRA adapter of each kind of step, by the backend's name for it; steps that are not here are
    /// computed by what the backend was loaded with.
    pub adapters: BTreeMap<StepKind, String>,
}

/// What a chain wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the model, and give the reply to [`ChainMachine::accept`].
    Ask(Request),
    /// Record a step that took no model, and come back.
    Record(Box<Step>),
    /// The chain has ended.
    Finish(Box<ChainEnd>),
}

/// Where a chain stands.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Draft,
    Critique,
    Revision {
        critique: String,
        quote: Option<String>,
    },
    Recheck(usize),
    Ended,
}

/// A chain in progress.
#[derive(Clone, Debug)]
pub struct ChainMachine {
    plan: Arc<Plan>,
    start: ChainStart,
    state: State,
    ordinal: u32,
    /// Calls of the step in progress, and the verdict of the first.
    calls: Vec<Call>,
    first_verdict: Option<Verdict>,
    /// A draft that was written before, until it is taken.
    given: Option<Box<Step>>,
    draft: Option<String>,
    current: Option<String>,
    revised: bool,
    round: u32,
    /// Principles of the round, and the one being asked about.
    queue: Vec<usize>,
    turn: usize,
    /// Whether the round found a violation, lacked a verdict, or changed the text.
    disturbed: bool,
    /// Principles that a revision was adopted for.
    mended: Vec<usize>,
    regressions: Vec<String>,
    stop: StopReason,
    error: Option<String>,
    /// Clean so far: no violation was found in any round.
    untouched: bool,
}

impl ChainMachine {
    /// A chain that has not begun.
    pub fn new(plan: Arc<Plan>, start: ChainStart) -> Self {
        Self {
            plan,
            start,
            state: State::Draft,
            ordinal: 0,
            calls: Vec::new(),
            first_verdict: None,
            given: None,
            draft: None,
            current: None,
            revised: false,
            round: 0,
            queue: Vec::new(),
            turn: 0,
            disturbed: false,
            mended: Vec::new(),
            regressions: Vec::new(),
            stop: StopReason::RoundsDone,
            error: None,
            untouched: true,
        }
    }

    /// A chain whose draft was written before: by another run, or by a person.
    pub fn with_draft(plan: Arc<Plan>, start: ChainStart, draft: Step) -> Self {
        Self {
            given: Some(Box::new(draft)),
            ..Self::new(plan, start)
        }
    }

    /// The chain as it began.
    pub fn start(&self) -> &ChainStart {
        &self.start
    }

    /// What the chain wants next. Asking twice gives the same request.
    // The machine is no iterator: what it wants next depends on the reply to what it wanted before.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Action {
        if let Some(draft) = self.given.take() {
            return Action::Record(Box::new(self.take_draft(*draft)));
        }
        if let State::Critique | State::Recheck(_) = self.state
            && let Some(step) = self.check()
        {
            return Action::Record(Box::new(step));
        }
        if self.state == State::Ended {
            return Action::Finish(Box::new(self.end()));
        }
        match self.request() {
            Ok(request) => Action::Ask(request),
            Err(error) => {
                self.fail(error.to_string());
                Action::Finish(Box::new(self.end()))
            }
        }
    }

    /// Takes the reply to the last request. Gives the finished step, or `None` when the chain asks again
    /// or has ended without one.
    pub fn accept(&mut self, reply: Result<Call, BackendError>) -> Option<Step> {
        let call = match reply {
            Ok(call) => call,
            Err(error) => {
                self.calls.clear();
                match error {
                    BackendError::ContextExceeded { .. } if self.state != State::Draft => {
                        self.stop = StopReason::ContextFull;
                        self.state = State::Ended;
                    }
                    error => self.fail(error.to_string()),
                }
                return None;
            }
        };
        self.calls.push(call);
        match self.state.clone() {
            State::Draft => self.accept_draft(),
            State::Critique if self.plan.pack.critique == CritiqueStyle::Prose => {
                Some(self.accept_prose())
            }
            State::Critique | State::Recheck(_) => self.accept_verdict(),
            State::Revision { critique, .. } => Some(self.accept_revision(&critique)),
            State::Ended => None,
        }
    }

    fn kind(&self) -> StepKind {
        match self.state {
            State::Draft => StepKind::Draft,
            State::Revision { .. } => StepKind::Revision,
            State::Recheck(_) => StepKind::Recheck,
            State::Critique | State::Ended => StepKind::Critique,
        }
    }

    fn principle(&self) -> Option<&Principle> {
        let index = match self.state {
            State::Draft | State::Ended => return None,
            State::Critique | State::Revision { .. } => *self.queue.get(self.turn)?,
            State::Recheck(n) => *self.mended.get(n)?,
        };
        self.plan.constitution.principles.get(index)
    }

    /// The step in progress under a principle that a program decides.
    fn check(&mut self) -> Option<Step> {
        let principle = self.principle()?;
        let breaches = principle.check.as_ref()?.breaches(self.current.as_deref()?);
        let violated = !breaches.is_empty();
        let messages: Vec<&str> = breaches
            .iter()
            .map(|breach| breach.message.as_str())
            .collect();
        let quote = breaches.iter().find_map(|breach| breach.quote.clone());
        let verdict = Verdict {
            violated,
            probability: Some(f64::from(u8::from(violated))),
            severity: violated.then_some(principle.severity),
            quote_verified: quote.is_some(),
            quote,
            critique: messages.join(" "),
            source: VerdictSource::Check,
        };
        Some(self.judged(Some(verdict), Vec::new()))
    }

    fn fail(&mut self, error: String) {
        self.error = Some(error);
        self.stop = StopReason::Failed;
        self.state = State::Ended;
    }

    fn seed(&self) -> ChainSeed<'_> {
        let ChainStart { prompt, sample, .. } = &self.start;
        ChainSeed {
            run: self.plan.seed,
            prompt: &prompt.id,
            sample: *sample,
        }
    }

    /// Closes the step in progress.
    fn step(
        &mut self,
        output: String,
        flags: Vec<Flag>,
        verdict: Option<Verdict>,
        adopted: bool,
    ) -> Step {
        let step = Step {
            ordinal: self.ordinal,
            round: self.round,
            kind: self.kind(),
            principle: self.principle().map(|p| p.id.clone()),
            calls: std::mem::take(&mut self.calls),
            output,
            flags,
            verdict,
            adopted,
        };
        self.ordinal += 1;
        step
    }

    fn end(&self) -> ChainEnd {
        ChainEnd {
            stop: self.stop,
            draft: self.draft.clone(),
            last: self.current.clone(),
            revised: self.revised,
            rounds: self.round,
            regressions: self.regressions.clone(),
            error: self.error.clone(),
        }
    }
}

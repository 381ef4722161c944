//! One chain as a state machine: what to do next, and what a reply leads to.
//!
//! There are no threads, no clock and no model here. A chain is a pure function of its plan, its prompt
//! and the replies it is given, so that a resumed run replays it from the start and finds itself where it
//! was.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::BackendError;
use crate::chain::{Call, ChainEnd, ChainStart, Flag, Step, StepKind, StopReason};
use crate::constitution::{Constitution, Principle, Revise};
use crate::generation::{Generate, Message, Request, SamplingParams};
use crate::template::{CritiqueStyle, Pack, PackError, Vars};
use crate::verdict::{self, Verdict, VerdictSource};

use super::faults::{Surroundings, of_generation, of_text, unusable};
use super::policy::{ChainSeed, Select, principles_of_round};

/// The temperature of a second try at a verdict when the first was greedy: greedy again would say the same.
const RETRY_TEMPERATURE: f64 = 0.7;

/// The most tokens of a verdict's prose, where a reply may be longer.
const CRITIQUE_TOKENS: u32 = 160;

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

    fn request(&self) -> Result<Request, PackError> {
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

    /// A given draft enters the chain as it is: what it was made with stays with it.
    fn take_draft(&mut self, draft: Step) -> Step {
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
    fn accept_draft(&mut self) -> Option<Step> {
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

    fn accept_prose(&mut self) -> Step {
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
    fn accept_verdict(&mut self) -> Option<Step> {
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
    fn judged(&mut self, verdict: Option<Verdict>, flags: Vec<Flag>) -> Step {
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

    fn accept_revision(&mut self, critique: &str) -> Step {
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

    fn next_principle(&mut self) {
        self.turn += 1;
        if self.turn < self.queue.len() {
            self.state = State::Critique;
        } else {
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        // A round over all principles that changed nothing has seen the current text under each of them.
        let whole_round = self.plan.select != Select::Sample;
        if whole_round && !self.disturbed {
            self.stop = StopReason::Clean;
            self.recheck(0);
        } else if self.round >= self.plan.rounds
            || (whole_round && self.plan.revise == Revise::Never)
        {
            // A response that stays as it is need not be asked about twice.
            self.stop = if self.untouched && !self.revised {
                StopReason::Clean
            } else {
                StopReason::RoundsDone
            };
            self.recheck(0);
        } else {
            self.begin_round();
        }
    }

    fn begin_round(&mut self) {
        if self.round >= self.plan.rounds {
            // No rounds were asked for, so nothing was found clean.
            self.untouched = false;
            self.disturbed = true;
            self.end_round();
            return;
        }
        self.round += 1;
        self.turn = 0;
        self.disturbed = false;
        self.queue = principles_of_round(
            &self.plan.constitution,
            &self.plan.select,
            self.seed(),
            self.round,
        );
        if self.queue.is_empty() {
            self.fail("no principle can be asked: none is active with a weight above 0".to_owned());
        } else {
            self.state = State::Critique;
        }
    }

    /// Asks again about the n-th principle that was revised for, or ends.
    fn recheck(&mut self, n: usize) {
        self.state = if self.plan.recheck && n < self.mended.len() {
            State::Recheck(n)
        } else {
            State::Ended
        };
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

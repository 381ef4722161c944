//! The engine: keeps many chains in flight over one backend, and records every finished step.
//!
//! The engine owns no thread. It reads chains from an iterator, drives one [`ChainMachine`] for each of
//! those in flight, submits their requests, and waits for replies. A chain's step is committed before
//! the chain's next request is submitted.

pub mod config;
pub mod event;
mod faults;
pub mod machine;
pub mod memory;
pub mod policy;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use thiserror::Error as ThisError;

use crate::backend::{Backend, BackendError, Ticket, TicketReply};
use crate::chain::{Call, ChainEnd, ChainId, ChainStart, Step, StopReason};
use crate::digest::Digest;
use crate::generation::{Generation, Reply, Request};

use event::Event;
use machine::{Action, ChainMachine, Plan};

/// An error of a [`Recorder`], which the engine passes on without looking inside.
pub type RecordError = Box<dyn Error + Send + Sync>;

/// Where a chain stands in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainStatus {
    /// Begun and not ended.
    Running,
    /// Ended.
    Done,
    /// Ended with an error.
    Failed,
}

/// What the engine tells the store.
///
/// Everything recorded since the last [`commit`](Recorder::commit) becomes durable with it. The engine
/// commits before it submits what follows a step. All methods are idempotent: a resumed run replays its
/// chains from the start, finds the replies that are already stored, and records the same steps again.
pub trait Recorder {
    /// Where the chain stands; `None` when it has not begun.
    fn status(&mut self, chain: &ChainId) -> Result<Option<ChainStatus>, RecordError>;

    /// Records that a chain begins. A failed chain that is begun again is running again, its error
    /// cleared and its steps kept.
    fn begin_chain(&mut self, chain: &ChainStart) -> Result<(), RecordError>;

    /// The stored reply to the request with the given content key.
    fn find_generation(&mut self, key: &Digest) -> Result<Option<Generation>, RecordError>;

    /// Records one model call, as soon as its reply is there. A reply that is stored under the same key
    /// stands, and takes the place of the call's own.
    fn record_call(&mut self, call: &mut Call) -> Result<(), RecordError>;

    /// Records a finished step, whose calls were recorded before. Says whether it is new.
    fn record_step(&mut self, chain: &ChainId, step: &Step) -> Result<bool, RecordError>;

    /// Records that a chain ended.
    fn end_chain(&mut self, chain: &ChainId, end: &ChainEnd) -> Result<(), RecordError>;

    /// Makes everything recorded so far durable.
    fn commit(&mut self) -> Result<(), RecordError>;
}

/// Why a run cannot go on. Chains that fail do not end a run.
#[derive(Debug, ThisError)]
pub enum EngineError {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[source] RecordError),
    /// The prompt file failed.
    #[error(transparent)]
    Prompts(RecordError),
    /// The backend has stopped, or nobody answers any more.
    #[error(transparent)]
    Backend(BackendError),
}

/// How a run went, counting what this process did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Chains that ended.
    pub ended: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Chains that had ended before, without an error.
    pub skipped: u64,
    /// Chains that had failed before and were left alone.
    pub skipped_failed: u64,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// Whether nothing is left to do, which may be so of an interrupted run as well.
    pub complete: bool,
}

/// How to run chains.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Chains in flight.
    pub parallel: usize,
    /// Whether chains that failed are begun again.
    pub retry_failed: bool,
}

/// A chain to run.
#[derive(Clone, Debug)]
pub struct Task {
    /// What it follows.
    pub plan: Arc<Plan>,
    /// What it is about.
    pub start: ChainStart,
    /// Its draft, where that was written before; else the model writes it.
    pub draft: Option<Step>,
}

/// Runs every task to its end, or until `interrupted` is set: then nothing new is asked, and what is in
/// flight is recorded when it comes.
pub fn run(
    backend: &dyn Backend,
    recorder: &mut dyn Recorder,
    tasks: &mut dyn Iterator<Item = Result<Task, RecordError>>,
    options: EngineOptions,
    interrupted: &AtomicBool,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, EngineError> {
    let (sender, replies) = unbounded();
    let mut engine = Engine {
        backend,
        recorder,
        options,
        interrupted,
        watch,
        sender,
        flights: HashMap::new(),
        ready: Vec::new(),
        next_chain: 0,
        exhausted: false,
        given_up: false,
        interrupted_at: None,
        summary: Summary::default(),
    };
    engine.run(tasks, &replies)
}

/// The content key of a request: what decides its reply, and nothing else.
pub fn content_key(backend: &dyn Backend, request: &Request) -> Digest {
    backend.identity().content_key(request)
}

/// How often the engine looks whether it was interrupted while it waits for a reply.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Chains that ended without the model between two commits.
const COMMIT_EVERY: u32 = 64;

/// How long an interrupted run waits for the replies in flight.
const GRACE: Duration = Duration::from_secs(5);

/// A chain whose request is with the backend.
struct Flight {
    machine: ChainMachine,
    request: Request,
    key: Digest,
    resumed: bool,
    ticket: Ticket,
}

/// Tickets of one chain; the next chain's are all higher, so that chains are finished in the order in which
/// they began.
const TICKETS_PER_CHAIN: Ticket = 1 << 24;

struct Engine<'a> {
    backend: &'a dyn Backend,
    recorder: &'a mut dyn Recorder,
    options: EngineOptions,
    interrupted: &'a AtomicBool,
    watch: &'a mut dyn FnMut(Event<'_>),
    sender: Sender<TicketReply>,
    flights: HashMap<Ticket, Flight>,
    /// Requests that are submitted once everything before them is committed.
    ready: Vec<Flight>,
    next_chain: Ticket,
    /// Whether there are no further tasks.
    exhausted: bool,
    /// Whether a request was left unasked because of an interruption.
    given_up: bool,
    interrupted_at: Option<Instant>,
    summary: Summary,
}

impl Engine<'_> {
    fn run(
        &mut self,
        tasks: &mut dyn Iterator<Item = Result<Task, RecordError>>,
        replies: &Receiver<TicketReply>,
    ) -> Result<Summary, EngineError> {
        loop {
            self.admit(tasks)?;
            self.submit()?;
            if self.flights.is_empty() {
                break;
            }
            let Some(first) = self.wait(replies) else {
                break;
            };
            for (ticket, reply) in std::iter::once(first).chain(replies.try_iter()) {
                self.receive(ticket, reply)?;
            }
        }
        self.summary.interrupted = self.interrupted();
        let ended = self.flights.is_empty() && !self.given_up;
        self.summary.complete = ended && (self.exhausted || tasks.next().is_none());
        Ok(self.summary)
    }

    /// The next reply. `None` when the run was interrupted and the replies in flight do not come soon:
    /// they are asked for again when the run is resumed.
    fn wait(&mut self, replies: &Receiver<TicketReply>) -> Option<TicketReply> {
        loop {
            // The engine holds a sender of its own, so the channel never closes.
            if let Ok(reply) = replies.recv_timeout(LOOK_EVERY) {
                return Some(reply);
            }
            if self.interrupted() {
                let since = *self.interrupted_at.get_or_insert_with(Instant::now);
                if since.elapsed() > GRACE {
                    return None;
                }
            }
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Begins chains until enough are in flight.
    fn admit(
        &mut self,
        tasks: &mut dyn Iterator<Item = Result<Task, RecordError>>,
    ) -> Result<(), EngineError> {
        let mut idle = 0_u32;
        while self.flights.len() + self.ready.len() < self.options.parallel.max(1)
            && !self.interrupted()
        {
            let Some(task) = tasks.next() else {
                self.exhausted = true;
                return Ok(());
            };
            let busy = self.flights.len() + self.ready.len();
            self.begin(task.map_err(EngineError::Prompts)?)?;
            // Chains that need no model end here, and nothing else would commit them.
            if self.flights.len() + self.ready.len() == busy {
                idle += 1;
                if idle.is_multiple_of(COMMIT_EVERY) {
                    self.recorder.commit().map_err(EngineError::Store)?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, task: Task) -> Result<(), EngineError> {
        let Task { plan, start, draft } = task;
        let status = self
            .recorder
            .status(&start.id)
            .map_err(EngineError::Store)?;
        match status {
            Some(ChainStatus::Done) => {
                self.summary.skipped += 1;
                (self.watch)(Event::ChainSkipped { failed: false });
                return Ok(());
            }
            Some(ChainStatus::Failed) if !self.options.retry_failed => {
                self.summary.skipped_failed += 1;
                (self.watch)(Event::ChainSkipped { failed: true });
                return Ok(());
            }
            _ => {}
        }
        self.recorder
            .begin_chain(&start)
            .map_err(EngineError::Store)?;
        (self.watch)(Event::ChainBegun(&start));
        let machine = match draft {
            Some(draft) => ChainMachine::with_draft(plan, start, draft),
            None => ChainMachine::new(plan, start),
        };
        self.next_chain += TICKETS_PER_CHAIN;
        self.drive(machine, status.is_some(), self.next_chain)
    }

    /// Takes a chain as far as it goes without asking the model; then its request gets the ticket.
    fn drive(
        &mut self,
        mut machine: ChainMachine,
        resumed: bool,
        ticket: Ticket,
    ) -> Result<(), EngineError> {
        loop {
            match machine.next() {
                Action::Ask(request) => {
                    let key = content_key(self.backend, &request);
                    let found = self
                        .recorder
                        .find_generation(&key)
                        .map_err(EngineError::Store)?;
                    let Some(generation) = found else {
                        self.ready.push(Flight {
                            machine,
                            request,
                            key,
                            resumed,
                            ticket,
                        });
                        return Ok(());
                    };
                    let call = Call {
                        key,
                        request,
                        generation,
                        reused: !resumed,
                    };
                    if let Some(step) = machine.accept(Ok(call)) {
                        self.record(machine.start(), &step)?;
                    }
                }
                Action::Record(step) => self.record(machine.start(), &step)?,
                Action::Finish(end) => return self.end(machine.start(), &end),
            }
        }
    }

    fn record(&mut self, chain: &ChainStart, step: &Step) -> Result<(), EngineError> {
        let new = self
            .recorder
            .record_step(&chain.id, step)
            .map_err(EngineError::Store)?;
        // A resumed chain replays steps that an earlier process has shown.
        if new {
            (self.watch)(Event::StepFinished { chain, step });
        }
        Ok(())
    }

    fn end(&mut self, chain: &ChainStart, end: &ChainEnd) -> Result<(), EngineError> {
        self.recorder
            .end_chain(&chain.id, end)
            .map_err(EngineError::Store)?;
        self.summary.ended += 1;
        self.summary.failed += u64::from(end.stop == StopReason::Failed);
        (self.watch)(Event::ChainEnded { chain, end });
        Ok(())
    }

    /// Commits what was recorded, then submits what follows from it.
    fn submit(&mut self) -> Result<(), EngineError> {
        self.recorder.commit().map_err(EngineError::Store)?;
        let ready = std::mem::take(&mut self.ready);
        if self.interrupted() {
            self.given_up |= !ready.is_empty();
            return Ok(());
        }
        for flight in ready {
            self.backend
                .submit(flight.ticket, flight.request.clone(), self.sender.clone());
            self.flights.insert(flight.ticket, flight);
        }
        Ok(())
    }

    fn receive(
        &mut self,
        ticket: Ticket,
        reply: Result<Reply, BackendError>,
    ) -> Result<(), EngineError> {
        let Some(mut flight) = self.flights.remove(&ticket) else {
            return Ok(());
        };
        let reply = match reply {
            Ok(Reply::Generated(generation)) => {
                let mut call = Call {
                    key: flight.key,
                    request: flight.request,
                    generation,
                    reused: false,
                };
                self.recorder
                    .record_call(&mut call)
                    .map_err(EngineError::Store)?;
                Ok(call)
            }
            Ok(Reply::Chosen(_)) => Err(BackendError::Inference(
                "the backend scored where it was to write".to_owned(),
            )),
            // Every chain would fail in the same way, and none of them through its own fault.
            Err(error @ (BackendError::Stopped | BackendError::Unreachable(_))) => {
                return Err(EngineError::Backend(error));
            }
            Err(error) => Err(error),
        };
        if let Some(step) = flight.machine.accept(reply) {
            self.record(flight.machine.start(), &step)?;
        }
        self.drive(flight.machine, flight.resumed, ticket + 1)
    }
}

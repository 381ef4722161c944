//! Asks many questions at once, remembers every reply, and asks for none twice.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use thiserror::Error;

use super::question::{Answer, Question};
use crate::backend::{Backend, BackendError, Ticket, TicketReply};
use crate::chain::Call;
use crate::digest::Digest;
use crate::generation::{
    Choice, Choose, Decision, FinishReason, Generation, Reply, Request, Usage,
};
use crate::store::{StoreError, Writer};

/// Remembers replies by content key.
pub trait Replies {
    /// The reply that is stored under the key.
    fn find(&mut self, key: &Digest) -> Result<Option<Generation>, StoreError>;

    /// Stores a reply; one that is there stands and takes the place of the call's own.
    fn record(&mut self, call: &mut Call) -> Result<(), StoreError>;

    /// Makes everything so far durable.
    fn commit(&mut self) -> Result<(), StoreError>;
}

impl Replies for Writer {
    fn find(&mut self, key: &Digest) -> Result<Option<Generation>, StoreError> {
        self.find_reply(key)
    }

    fn record(&mut self, call: &mut Call) -> Result<(), StoreError> {
        self.keep_reply(call)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.keep()
    }
}

/// Forgets with the process.
impl Replies for HashMap<Digest, Generation> {
    fn find(&mut self, key: &Digest) -> Result<Option<Generation>, StoreError> {
        Ok(self.get(key).cloned())
    }

    fn record(&mut self, call: &mut Call) -> Result<(), StoreError> {
        let known = self
            .entry(call.key.clone())
            .or_insert_with(|| call.generation.clone());
        call.generation = known.clone();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Why questions cannot go on. One that fails alone ends nothing.
#[derive(Debug, Error)]
pub enum DriveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backend has stopped, or nobody answers any more.
    #[error(transparent)]
    Backend(BackendError),
}

/// Questions that belong together, and what they are about.
#[derive(Clone, Debug)]
pub struct Ask<T> {
    /// For the caller.
    pub about: T,
    /// Answered in any order, given back in this one.
    pub questions: Vec<Question>,
}

/// How to ask.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Questions in flight.
    pub parallel: usize,
    /// Set when nothing new is to be asked.
    pub interrupted: &'a AtomicBool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Model calls that were made.
    pub calls: u64,
    /// Replies that were there already.
    pub reused: u64,
    /// Tokens of the rendered requests of the calls that were made.
    pub prompt_tokens: u64,
    /// How many of them were in the KV cache.
    pub cached_tokens: u64,
    /// Tokens of the replies.
    pub completion_tokens: u64,
    /// Whether something was left unasked.
    pub interrupted: bool,
}

/// What hears of every ask that is answered, or of the first error among its answers.
pub type Done<'a, T, R, E> =
    &'a mut (dyn FnMut(T, Result<Vec<Answer>, String>, &mut R) -> Result<(), E> + 'a);

/// How often it is looked whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long an interrupted process waits for the replies in flight.
const GRACE: Duration = Duration::from_secs(5);

/// Asks everything that `asks` gives, and hands each with its answers, or with the first error among them, to
/// `done`. Replies are durable before what follows from them is asked.
pub fn answer_all<T, R: Replies, E: From<DriveError>>(
    backend: &dyn Backend,
    replies: &mut R,
    asks: &mut dyn Iterator<Item = Result<Ask<T>, E>>,
    options: Options<'_>,
    done: Done<'_, T, R, E>,
) -> Result<Summary, E> {
    let (sender, receiver) = unbounded();
    let mut drive = Drive {
        backend,
        options,
        sender,
        flights: HashMap::new(),
        waiting: VecDeque::new(),
        open: HashMap::new(),
        next_ask: 0,
        next_ticket: 0,
        interrupted_at: None,
        summary: Summary::default(),
    };
    loop {
        drive.admit(replies, asks, done)?;
        drive.submit(replies)?;
        if drive.flights.is_empty() {
            break;
        }
        let Some(first) = drive.wait(&receiver) else {
            break;
        };
        for (ticket, reply) in std::iter::once(first).chain(receiver.try_iter()) {
            drive.receive(ticket, reply, replies, done)?;
        }
    }
    replies.commit().map_err(DriveError::from)?;
    drive.summary.interrupted = drive.interrupted();
    Ok(drive.summary)
}

/// A question whose request is on its way, or about to be.
struct Flight {
    ask: u64,
    index: usize,
    question: Question,
    request: Request,
    key: Digest,
}

/// An ask that is not wholly answered.
struct Open<T> {
    about: T,
    answers: Vec<Option<Answer>>,
    left: usize,
    error: Option<String>,
}

struct Drive<'a, T> {
    backend: &'a dyn Backend,
    options: Options<'a>,
    sender: Sender<TicketReply>,
    flights: HashMap<Ticket, Flight>,
    /// Submitted once everything before is durable.
    waiting: VecDeque<Flight>,
    open: HashMap<u64, Open<T>>,
    next_ask: u64,
    next_ticket: Ticket,
    interrupted_at: Option<Instant>,
    summary: Summary,
}

impl<T> Drive<'_, T> {
    fn interrupted(&self) -> bool {
        self.options.interrupted.load(Ordering::Relaxed)
    }

    fn admit<R: Replies, E: From<DriveError>>(
        &mut self,
        replies: &mut R,
        asks: &mut dyn Iterator<Item = Result<Ask<T>, E>>,
        done: Done<'_, T, R, E>,
    ) -> Result<(), E> {
        while self.flights.len() + self.waiting.len() < self.options.parallel.max(1)
            && !self.interrupted()
        {
            let Some(ask) = asks.next() else {
                return Ok(());
            };
            let Ask { about, questions } = ask?;
            if questions.is_empty() {
                done(about, Ok(Vec::new()), replies)?;
                continue;
            }
            let id = self.next_ask;
            self.next_ask += 1;
            let open = Open {
                about,
                answers: questions.iter().map(|_| None).collect(),
                left: questions.len(),
                error: None,
            };
            self.open.insert(id, open);
            for (index, question) in questions.into_iter().enumerate() {
                self.advance((id, index), question, replies, done)?;
            }
        }
        Ok(())
    }

    /// Takes a question as far as it goes without asking the model.
    fn advance<R: Replies, E: From<DriveError>>(
        &mut self,
        (ask, index): (u64, usize),
        mut question: Question,
        replies: &mut R,
        done: Done<'_, T, R, E>,
    ) -> Result<(), E> {
        loop {
            let request = question.request();
            let key = self.backend.identity().content_key(&request);
            let Some(generation) = replies.find(&key).map_err(DriveError::from)? else {
                self.waiting.push_back(Flight {
                    ask,
                    index,
                    question,
                    request,
                    key,
                });
                return Ok(());
            };
            self.summary.reused += 1;
            let call = Call {
                key,
                request,
                generation,
                reused: true,
            };
            match question.accept(call) {
                Ok(None) => {}
                Ok(Some(answer)) => return self.settle((ask, index), Ok(answer), replies, done),
                Err(error) => return self.settle((ask, index), Err(error), replies, done),
            }
        }
    }

    fn submit<R: Replies>(&mut self, replies: &mut R) -> Result<(), DriveError> {
        replies.commit()?;
        if self.interrupted() {
            self.waiting.clear();
            return Ok(());
        }
        for flight in std::mem::take(&mut self.waiting) {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            let request = flight.request.clone();
            self.flights.insert(ticket, flight);
            self.backend.submit(ticket, request, self.sender.clone());
        }
        Ok(())
    }

    /// The next reply; `None` when interrupted and the replies in flight do not come soon.
    fn wait(&mut self, receiver: &Receiver<TicketReply>) -> Option<TicketReply> {
        loop {
            if let Ok(reply) = receiver.recv_timeout(LOOK_EVERY) {
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

    fn receive<R: Replies, E: From<DriveError>>(
        &mut self,
        ticket: Ticket,
        reply: Result<Reply, BackendError>,
        replies: &mut R,
        done: Done<'_, T, R, E>,
    ) -> Result<(), E> {
        let Some(mut flight) = self.flights.remove(&ticket) else {
            return Ok(());
        };
        let place = (flight.ask, flight.index);
        let generation = match (reply, &flight.request) {
            (Ok(Reply::Generated(generation)), Request::Generate(_)) => generation,
            (Ok(Reply::Chosen(choice)), Request::Choose(request)) => scored(request, choice),
            (Ok(_), _) => {
                let error = "the backend answered another kind of request".to_owned();
                return self.settle(place, Err(error), replies, done);
            }
            (Err(error @ (BackendError::Stopped | BackendError::Unreachable(_))), _) => {
                return Err(DriveError::Backend(error).into());
            }
            (Err(error), _) => return self.settle(place, Err(error.to_string()), replies, done),
        };
        self.count(&generation.usage);
        let mut call = Call {
            key: flight.key,
            request: flight.request,
            generation,
            reused: false,
        };
        replies.record(&mut call).map_err(DriveError::from)?;
        match flight.question.accept(call) {
            Ok(None) => self.advance(place, flight.question, replies, done),
            Ok(Some(answer)) => self.settle(place, Ok(answer), replies, done),
            Err(error) => self.settle(place, Err(error), replies, done),
        }
    }

    fn count(&mut self, usage: &Usage) {
        self.summary.calls += 1;
        self.summary.prompt_tokens += u64::from(usage.prompt_tokens);
        self.summary.cached_tokens += u64::from(usage.cached_tokens);
        self.summary.completion_tokens += u64::from(usage.completion_tokens);
    }

    /// Notes what became of one question, and hands the ask over when it was the last one.
    fn settle<R: Replies, E: From<DriveError>>(
        &mut self,
        (ask, index): (u64, usize),
        answer: Result<Answer, String>,
        replies: &mut R,
        done: Done<'_, T, R, E>,
    ) -> Result<(), E> {
        let Some(open) = self.open.get_mut(&ask) else {
            return Ok(());
        };
        match answer {
            Ok(answer) => open.answers[index] = Some(answer),
            Err(error) => drop(open.error.get_or_insert(error)),
        }
        open.left -= 1;
        if open.left > 0 {
            return Ok(());
        }
        let Some(open) = self.open.remove(&ask) else {
            return Ok(());
        };
        let answers = match open.error {
            Some(error) => Err(error),
            None => Ok(open.answers.into_iter().flatten().collect()),
        };
        done(open.about, answers, replies)
    }
}

/// Scores in the form in which replies are stored: the probability of each option is a decision.
fn scored(request: &Choose, choice: Choice) -> Generation {
    let options = request.options.iter().zip(&choice.logprobs);
    Generation {
        text: String::new(),
        raw: String::new(),
        thinking: None,
        thinking_unclosed: false,
        finish: FinishReason::Stop,
        decisions: options
            .map(|(option, logprob)| Decision {
                field: option.clone(),
                probability: logprob.exp(),
            })
            .collect(),
        invalid_utf8: false,
        usage: choice.usage,
    }
}

//! The step loop: one thread owns the llama.cpp context and does nothing but admit, decode and sample.
//!
//! Templates, tokenising, parsing and storage happen on other threads, so that the share of wall time
//! spent inside `llama_decode` stays high.

mod admission;
mod cells;
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_backend::LlamaBackend as Runtime;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};

use crate::backend::{BackendError, Ticket};

use super::cache::Cache;
use super::context::{self, WorkerConfig};
use super::prefix::Seq;
use super::scheduler::{Demand, Share, next_domain, plan};
use super::sequence::{Job, Next, Sequence};
use super::step_cost::StepCost;
use super::threads::Threads;
use super::vocab::Vocab;

use admission::Waiting;
use cells::ContextCells;

/// How many steps in a row one adapter computes while an earlier request waits for another.
const PATIENCE: usize = 32;

/// What is said where rows of logits hold no numbers.
pub(super) const NO_NUMBERS: &str = "the model computes no numbers: its file may be damaged, or what it computes too large for this device";

/// What the worker has done so far. Written by the worker, read by anyone.
#[derive(Debug, Default)]
pub struct Counters {
    /// Nanoseconds inside `llama_decode` and waiting for its result.
    pub decode_ns: AtomicU64,
    /// Nanoseconds during which at least one sequence was active.
    pub busy_ns: AtomicU64,
    /// Calls of `llama_decode`.
    pub steps: AtomicU64,
    /// Tokens decoded, of prompts and replies.
    pub tokens: AtomicU64,
    /// Sequences that had to give way and began again.
    pub preempted: AtomicU64,
}

/// A LoRA adapter and its scale.
pub type Adapter = (LlamaLoraAdapter, f32);

/// Where a request stands in the queue: by its ticket, and by arrival where those of different callers are equal.
type Key = (Ticket, u64);

/// A sequence with a place in the cache.
#[derive(Debug)]
struct Running {
    /// Its place in the queue, to which it goes back when it has to give way.
    key: Key,
    seq: Seq,
    sequence: Sequence,
    /// Its rows in the step: the first one, and how many.
    rows: (usize, usize),
    outcome: Option<Next>,
}

/// Runs the step loop until all senders of `jobs` are gone. Says on `ready` whether the context came up.
#[allow(clippy::too_many_arguments)]
pub fn run(
    runtime: &Runtime,
    model: &Arc<LlamaModel>,
    vocab: &Vocab,
    config: &WorkerConfig,
    adapters: Vec<Option<Adapter>>,
    counters: &Counters,
    jobs: &Receiver<Job>,
    ready: &Sender<Result<(), BackendError>>,
) {
    let context = match context::open(runtime, model, config) {
        Ok(context) => context,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    Worker {
        context,
        vocab,
        config,
        counters,
        cache: Cache::new(config.cache),
        running: Vec::new(),
        waiting: BTreeMap::new(),
        adapters,
        domain: 0,
        domain_steps: 0,
        adapter_set: None,
        cost: StepCost::default(),
        threads: config.threads.clone(),
        rows: Vec::new(),
    }
    .run(jobs);
}

struct Worker<'a> {
    context: LlamaContext<'a>,
    vocab: &'a Vocab,
    config: &'a WorkerConfig,
    counters: &'a Counters,
    cache: Cache,
    running: Vec<Running>,
    /// Requests without a place, and sequences that had to give theirs up; earlier requests first.
    waiting: BTreeMap<Key, Waiting>,
    /// The adapter of each domain.
    adapters: Vec<Option<Adapter>>,
    /// The domain of the last step, and for how many steps it was.
    domain: usize,
    domain_steps: usize,
    /// The domain whose adapter the context has; `None` before the first step.
    adapter_set: Option<usize>,
    cost: StepCost,
    threads: Threads,
    rows: Vec<&'static [f32]>,
}

impl<'a> Worker<'a> {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut batch = LlamaBatch::new(self.config.batch as usize, 1);
        let (mut demands, mut shares) = (Vec::new(), Vec::new());
        let mut arrivals = 0;
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                match jobs.recv() {
                    Ok(job) => self.enqueue(job, &mut arrivals),
                    Err(_) => return,
                }
            }
            loop {
                match jobs.try_recv() {
                    Ok(job) => self.enqueue(job, &mut arrivals),
                    Err(TryRecvError::Empty) => break,
                    // Nobody waits for the replies any more; sequences that are dropped say so.
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let begun = Instant::now();
            self.admit();
            self.plan(&mut demands, &mut shares);
            if let Err(error) = self.step(&mut batch, &shares) {
                self.fail_all(&error);
            }
            add(&self.counters.busy_ns, begun);
        }
    }

    fn cells<'c>(context: &'c mut LlamaContext<'a>, config: &WorkerConfig) -> ContextCells<'c, 'a> {
        ContextCells(context, config.unified())
    }

    /// What the next step decodes, within the budget of tokens and the room in the cache.
    fn plan(&mut self, demands: &mut Vec<Demand>, shares: &mut Vec<Share>) {
        let domains = self.running.iter().map(|r| r.sequence.domain);
        let domain = next_domain(self.domain, self.domain_steps, PATIENCE, domains);
        self.domain_steps = if domain == self.domain {
            self.domain_steps + 1
        } else {
            1
        };
        self.domain = domain;
        self.propose(domain);
        demands.clear();
        demands.extend(
            self.running
                .iter()
                .enumerate()
                .filter(|(_, running)| running.sequence.domain == domain)
                .map(|(slot, running)| Demand {
                    slot,
                    pending: running.sequence.due(),
                    proposals: running.sequence.proposals.len(),
                }),
        );
        plan(demands, self.config.batch as usize, shares);
        let tokens = |shares: &[Share]| shares.iter().map(|s| s.tokens + s.proposals).sum();
        let mut cells = Self::cells(&mut self.context, self.config);
        if !self.cache.make_room(&mut cells, tokens(shares)) {
            for running in &mut self.running {
                running.sequence.proposals.clear();
            }
            for share in shares.iter_mut() {
                share.proposals = 0;
            }
            while !self.cache.make_room(
                &mut Self::cells(&mut self.context, self.config),
                tokens(shares),
            ) && self.preempt(shares)
            {}
        }
        // A stream's tokens must come in the order of the streams, or llama.cpp decodes them one by one.
        if !self.config.unified() {
            shares.sort_unstable_by_key(|share| self.running[share.slot].seq);
        }
    }

    /// Has the generating sequences of a domain propose as much as is worth its cost now.
    fn propose(&mut self, domain: usize) {
        let rows: usize = self
            .running
            .iter()
            .filter(|running| running.sequence.domain == domain)
            .map(|running| running.sequence.pending())
            .sum();
        let rows = rows.min(self.config.batch as usize);
        for running in &mut self.running {
            let sequence = &mut running.sequence;
            let wanted = match (self.config.lookup, sequence.lookup()) {
                (Some(fixed), Some(_)) if fixed > 0 => fixed,
                (None, Some(lookup)) => self.cost.worthwhile(lookup.chances(), rows),
                _ => 0,
            };
            // Rows beside a prompt are computed another way than rows of a reply, and round otherwise.
            let apart = !self.config.exact || sequence.pending() == 1;
            let active = sequence.domain == domain && wanted > 0 && apart;
            sequence.propose(if active { wanted } else { 0 });
        }
    }

    /// Answers every active request with the error, and starts from an empty cache.
    fn fail_all(&mut self, error: &BackendError) {
        self.context.clear_kv_cache();
        self.cache.clear();
        for running in self.running.drain(..) {
            running.sequence.resolve(Err(error.clone()));
        }
    }
}

fn add(counter: &AtomicU64, since: Instant) {
    let elapsed = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    counter.fetch_add(elapsed, Ordering::Relaxed);
}

//! The step loop: one thread owns the llama.cpp context and does nothing but admit, decode and sample.
//!
//! Templates, tokenising, parsing and storage happen on other threads, so that the share of wall time
//! spent inside `llama_decode` stays high.

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

use super::cache::{Cache, Cells};
use super::context::{self, WorkerConfig};
use super::prefix::Seq;
use super::scheduler::{Ahead, Demand, Share, next_domain, plan, rides_along};
use super::sequence::{Job, Next, Sequence};
use super::step_cost::StepCost;
use super::vocab::Vocab;

/// Tokens for which a sequence that is let in finds room beyond its prompt. It may need more; then others
/// give way.
const RESERVE: usize = 64;

/// How many steps in a row one adapter computes while an earlier request waits for another.
const PATIENCE: usize = 32;

/// How many waiting requests are looked at for one that can be let in.
const LOOK_AHEAD: usize = 64;

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

/// The context's cells, as the cache's book-keeping moves them.
struct ContextCells<'a, 'm>(&'a mut LlamaContext<'m>, bool);

impl Cells for ContextCells<'_, '_> {
    fn share(&mut self, from: Seq, to: Seq, len: usize) {
        let end = u32::try_from(len).ok();
        if self.1 {
            let _ = self.0.copy_kv_cache_seq(from.into(), to.into(), None, end);
        } else {
            // Between streams only whole buffers are copied; what is too much is dropped behind it.
            let _ = self.0.copy_kv_cache_seq(from.into(), to.into(), None, None);
            let _ = self.0.clear_kv_cache_seq(Some(to.into()), end, None);
        }
    }

    fn forget(&mut self, seq: Seq, from: usize) -> bool {
        let start = (from > 0).then(|| u32::try_from(from).unwrap_or(u32::MAX));
        // Removing a whole sequence always succeeds.
        matches!(
            self.0.clear_kv_cache_seq(Some(seq.into()), start, None),
            Ok(true)
        )
    }
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
    rows: Vec<&'static [f32]>,
}

/// A request that waits for a place.
enum Waiting {
    New(Job),
    Preempted(Sequence),
}

impl Waiting {
    fn tokens(&self) -> &[u32] {
        match self {
            Waiting::New(job) => &job.tokens,
            Waiting::Preempted(sequence) => &sequence.tokens,
        }
    }

    fn domain(&self) -> usize {
        match self {
            Waiting::New(job) => job.domain,
            Waiting::Preempted(sequence) => sequence.domain,
        }
    }

    fn room(&self) -> usize {
        match self {
            Waiting::New(job) => job.room,
            Waiting::Preempted(sequence) => sequence.room(),
        }
    }
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

    fn enqueue(&mut self, job: Job, arrivals: &mut u64) {
        *arrivals += 1;
        self.waiting
            .insert((job.order(), *arrivals), Waiting::New(job));
    }

    fn cells<'c>(context: &'c mut LlamaContext<'a>, config: &WorkerConfig) -> ContextCells<'c, 'a> {
        ContextCells(context, config.unified())
    }

    /// Lets waiting requests in, earlier ones first, as far as there are places and cells.
    fn admit(&mut self) {
        let mut looked = 0;
        let mut after = None;
        while self.running.len() < self.config.cache.running && looked < LOOK_AHEAD {
            let next = match after {
                None => self.waiting.iter().next(),
                Some(key) => self
                    .waiting
                    .range((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded))
                    .next(),
            };
            let Some((&key, waiting)) = next else { return };
            looked += 1;
            after = Some(key);
            if self.rides_along(waiting) {
                continue;
            }
            // Those that run grow as well; without room for that, whoever is let in would soon give way.
            // One alone has the whole cache, which holds a whole context.
            let reserve = match self.running.len() {
                0 => 0,
                running => waiting.room().min(RESERVE) + running * RESERVE / 2,
            };
            let mut cells = Self::cells(&mut self.context, self.config);
            let admitted =
                self.cache
                    .admit(&mut cells, waiting.domain(), waiting.tokens(), reserve);
            // Who comes later must not take the cells that this one waits for.
            let Some(admitted) = admitted else { return };
            let sequence = match self.waiting.remove(&key) {
                Some(Waiting::New(job)) => Sequence::new(job, admitted.shared),
                Some(Waiting::Preempted(mut sequence)) => {
                    sequence.admit_again(admitted.shared);
                    sequence
                }
                None => return,
            };
            let place = self.running.partition_point(|running| running.key < key);
            self.running.insert(
                place,
                Running {
                    key,
                    seq: admitted.seq,
                    sequence,
                    rows: (0, 0),
                    outcome: None,
                },
            );
        }
    }

    /// Whether a request should wait for what a running sequence is prefilling.
    fn rides_along(&self, waiting: &Waiting) -> bool {
        if !self.config.cache.reuse {
            return false;
        }
        let resident = self.cache.resident(waiting.domain(), waiting.tokens());
        let running = self.running.iter().map(|running| Ahead {
            tokens: &running.sequence.tokens,
            decoded: running.sequence.decoded,
            domain: running.sequence.domain,
        });
        let worth = self.cache.worth_waiting();
        rides_along(waiting.tokens(), waiting.domain(), resident, worth, running)
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
                    pending: running.sequence.pending(),
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

    /// Takes the place of the latest request, which begins again later, and its part of the plan. False
    /// when only one is left, which has the whole cache to itself.
    fn preempt(&mut self, shares: &mut Vec<Share>) -> bool {
        if self.running.len() < 2 {
            return false;
        }
        let Some(last) = self.running.pop() else {
            return false;
        };
        shares.retain(|share| share.slot < self.running.len());
        let mut cells = Self::cells(&mut self.context, self.config);
        self.cache.release(&mut cells, last.seq);
        self.counters.preempted.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting::Preempted(last.sequence.step_back());
        self.waiting.insert(last.key, waiting);
        true
    }
}

fn add(counter: &AtomicU64, since: Instant) {
    let elapsed = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    counter.fetch_add(elapsed, Ordering::Relaxed);
}

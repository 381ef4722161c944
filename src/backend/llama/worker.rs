//! The step loop: one thread owns the llama.cpp context and does nothing but admit, decode and sample.
//!
//! Templates, tokenising, parsing and storage happen on other threads, so that the share of wall time
//! spent inside `llama_decode` stays high.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_backend::LlamaBackend as Runtime;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use rayon::prelude::*;

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
        let mut sequence = last.sequence;
        sequence.decoded = 0;
        sequence.proposals.clear();
        self.waiting.insert(last.key, Waiting::Preempted(sequence));
        true
    }

    /// Decodes one batch and takes its rows.
    fn step(&mut self, batch: &mut LlamaBatch<'_>, shares: &[Share]) -> Result<(), BackendError> {
        // Whoever was to be decoded gave way; the next plan is about others.
        if shares.is_empty() {
            return Ok(());
        }
        self.set_adapter()?;
        self.fill(batch, shares)?;
        let begun = Instant::now();
        let decoded = self.context.decode(batch);
        // With a GPU, decoding is done only when the result is there.
        self.context.synchronize();
        let elapsed = begun.elapsed();
        add(&self.counters.decode_ns, begun);
        self.counters.steps.fetch_add(1, Ordering::Relaxed);
        match decoded {
            Ok(()) => {}
            // A cache in pieces may have cells and no place for a batch; fewer sequences need fewer.
            Err(DecodeError::NoKvCacheSlot) if self.preempt(&mut Vec::new()) => return Ok(()),
            Err(error) => return Err(BackendError::Inference(error.to_string())),
        }
        let decoded = batch.n_tokens().unsigned_abs();
        self.counters
            .tokens
            .fetch_add(decoded.into(), Ordering::Relaxed);
        // Tokens of prompts are cheaper: no next token is computed for them.
        let rows: usize = self.running.iter().map(|running| running.rows.1).sum();
        if rows == decoded as usize {
            self.cost.observe(rows, elapsed.as_secs_f64());
        }
        for share in shares {
            let running = &mut self.running[share.slot];
            let (from, to) = (
                running.sequence.decoded,
                running.sequence.decoded + share.tokens,
            );
            self.cache
                .decoded(running.seq, &running.sequence.tokens[from..to]);
            running.sequence.decoded = to;
        }
        self.take_rows();
        Ok(())
    }

    /// Gives the context the adapter of the step's domain.
    fn set_adapter(&mut self) -> Result<(), BackendError> {
        if self.adapter_set == Some(self.domain) {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| {
            BackendError::Inference(format!("the adapter cannot be set: {error}"))
        };
        match self.adapters.get_mut(self.domain) {
            Some(Some((adapter, scale))) => self
                .context
                .lora_adapter_set(adapter, *scale)
                .map_err(|error| failed(&error))?,
            // Without an adapter there is nothing to remove either, unless another domain has one.
            _ => {
                if let Some((adapter, _)) = self.adapters.iter_mut().flatten().next() {
                    self.context
                        .lora_adapter_remove(adapter)
                        .map_err(|error| failed(&error))?;
                }
            }
        }
        self.adapter_set = Some(self.domain);
        Ok(())
    }

    /// Puts the tokens of the plan into the batch, and notes which rows are whose.
    fn fill(&mut self, batch: &mut LlamaBatch<'_>, shares: &[Share]) -> Result<(), BackendError> {
        batch.clear();
        for running in &mut self.running {
            running.rows = (0, 0);
        }
        let mut rows = 0;
        for share in shares {
            let running = &mut self.running[share.slot];
            let sequence = &mut running.sequence;
            sequence.proposals.truncate(share.proposals);
            let last = sequence.decoded + share.tokens;
            let complete = last == sequence.tokens.len();
            let pending = &sequence.tokens[sequence.decoded..last];
            for (offset, &token) in pending.iter().chain(&sequence.proposals).enumerate() {
                let wanted = complete && offset + 1 >= share.tokens;
                let position = i32::try_from(sequence.decoded + offset).unwrap_or(i32::MAX);
                batch
                    .add(
                        LlamaToken(token.cast_signed()),
                        position,
                        &[running.seq.into()],
                        wanted,
                    )
                    .map_err(|error| BackendError::Inference(error.to_string()))?;
            }
            if complete {
                running.rows = (rows, 1 + sequence.proposals.len());
                rows += running.rows.1;
            }
        }
        Ok(())
    }

    /// Draws the next tokens of every sequence, all sequences in parallel, and finishes what is finished.
    fn take_rows(&mut self) {
        let limit = self.config.context_per_sequence as usize;
        let (vocab, exact) = (self.vocab, self.config.exact);
        let mut rows = recycle(std::mem::take(&mut self.rows));
        rows.extend(self.context.rows(&self.running));
        self.running
            .par_iter_mut()
            .filter(|running| running.rows.1 > 0)
            .for_each(|running| {
                let (first, count) = running.rows;
                let rows = &rows[first..first + count];
                running.outcome = Some(running.sequence.take(rows, vocab, limit, exact));
            });
        self.rows = recycle(rows);
        let mut index = 0;
        while index < self.running.len() {
            let running = &mut self.running[index];
            let outcome = running.outcome.take();
            let mut cells = Self::cells(&mut self.context, self.config);
            match outcome {
                None => {}
                Some(Next::Rewind(from)) => {
                    let kept = self.cache.rewind(&mut cells, running.seq, from);
                    running.sequence.decoded = kept;
                }
                Some(Next::Broken) => {
                    // What it leaves in the cache is of no use to anyone.
                    self.cache.release(&mut cells, running.seq);
                    let error = "the model computes no numbers: its file may be damaged, or what it computes too large for this device";
                    let error = BackendError::Inference(error.to_owned());
                    self.running.remove(index).sequence.resolve(Err(error));
                    continue;
                }
                Some(next) => {
                    settle(&mut self.cache, &mut cells, running);
                    if let Next::Finished(reply) = next {
                        self.cache.finish(&mut cells, running.seq);
                        self.running.remove(index).sequence.resolve(Ok(reply));
                        continue;
                    }
                }
            }
            index += 1;
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

/// Notes the proposals that were right as decoded, and drops the cells of the others.
fn settle(cache: &mut Cache, cells: &mut impl Cells, running: &mut Running) {
    let sequence = &mut running.sequence;
    let known = cache.len(running.seq);
    cache.decoded(
        running.seq,
        &sequence.tokens[known.min(sequence.decoded)..sequence.decoded],
    );
    if sequence.decoded < known + sequence.proposals.len() || sequence.decoded < known {
        sequence.decoded = cache.rewind(cells, running.seq, sequence.decoded);
    }
    sequence.proposals.clear();
}

/// The rows of logits of a step.
trait Rows {
    /// Those of all running sequences, in the order in which the batch asked for them.
    fn rows(&self, running: &[Running]) -> impl Iterator<Item = &[f32]>;
}

impl Rows for LlamaContext<'_> {
    fn rows(&self, running: &[Running]) -> impl Iterator<Item = &[f32]> {
        let count: usize = running.iter().map(|running| running.rows.1).sum();
        // Counted from the end: the k-th row that was asked for, whatever stands between them.
        (0..count).map(move |row| {
            let from_end = i32::try_from(count - row).unwrap_or(0);
            self.get_logits_ith(-from_end)
        })
    }
}

/// An empty list that keeps its memory for borrows of another lifetime.
fn recycle<'b>(mut rows: Vec<&[f32]>) -> Vec<&'b [f32]> {
    rows.clear();
    rows.into_iter().map(|_| -> &'b [f32] { &[] }).collect()
}

fn add(counter: &AtomicU64, since: Instant) {
    let elapsed = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    counter.fetch_add(elapsed, Ordering::Relaxed);
}

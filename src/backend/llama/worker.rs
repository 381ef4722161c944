//! The step loop: one thread owns the llama.cpp context and does nothing but admit, decode and sample.
//!
//! Templates, tokenising, parsing and storage happen on other threads, so that the share of wall time
//! spent inside `llama_decode` stays high.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_backend::LlamaBackend as Runtime;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use rayon::prelude::*;

use crate::backend::BackendError;

use super::scheduler::{Demand, Share, plan};
use super::sequence::{Job, Next, Sequence};
use super::vocab::Vocab;

/// How the context is made and used.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// How many sequences are decoded together.
    pub slots: usize,
    /// The most tokens of one sequence.
    pub context_per_sequence: u32,
    /// The most tokens of one step.
    pub batch: u32,
    /// The most tokens that llama.cpp computes at once.
    pub ubatch: u32,
    /// Threads of llama.cpp.
    pub threads: i32,
    /// Whether flash attention is forced on or off; `None` lets llama.cpp decide.
    pub flash_attention: Option<bool>,
    /// Number formats of the cached keys and values.
    pub cache_types: (KvCacheType, KvCacheType),
    /// Whether a finished sequence's cache may serve the next one that begins alike.
    pub reuse_cache: bool,
}

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
}

/// A place in the context: what its cache holds, and who uses it.
#[derive(Debug, Default)]
struct Slot {
    resident: Vec<u32>,
    sequence: Option<Sequence>,
    arrival: u64,
    last_used: u64,
}

/// Runs the step loop until all senders of `jobs` are gone. Says on `ready` whether the context came up.
pub fn run(
    runtime: &Runtime,
    model: &Arc<LlamaModel>,
    vocab: &Vocab,
    config: &WorkerConfig,
    counters: &Counters,
    jobs: &Receiver<Job>,
    ready: &Sender<Result<(), BackendError>>,
) {
    let cells = u32::try_from(config.slots)
        .ok()
        .and_then(|slots| config.context_per_sequence.checked_mul(slots))
        .and_then(NonZeroU32::new);
    let mut params = LlamaContextParams::default()
        .with_n_ctx(cells)
        .with_n_seq_max(u32::try_from(config.slots).unwrap_or(1))
        .with_n_batch(config.batch)
        .with_n_ubatch(config.ubatch)
        .with_n_threads(config.threads)
        .with_n_threads_batch(config.threads)
        .with_type_k(config.cache_types.0)
        .with_type_v(config.cache_types.1)
        .with_kv_unified(false)
        .with_swa_full(true)
        .with_no_perf(true);
    if let Some(on) = config.flash_attention {
        params = params.with_flash_attention_policy(i32::from(on));
    }
    let context = match model.new_context(runtime, params) {
        Ok(context) => context,
        Err(error) => {
            let message = format!(
                "llama.cpp could not make a context of {} × {} tokens ({error}); lower --parallel or --ctx-size",
                config.slots, config.context_per_sequence
            );
            let _ = ready.send(Err(BackendError::Load(message)));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    Worker {
        context,
        vocab,
        config,
        counters,
        reuse: config.reuse_cache && !model.is_recurrent() && !model.is_hybrid(),
        slots: (0..config.slots).map(|_| Slot::default()).collect(),
        waiting: VecDeque::new(),
        clock: 0,
    }
    .run(jobs);
}

struct Worker<'a> {
    context: LlamaContext<'a>,
    vocab: &'a Vocab,
    config: &'a WorkerConfig,
    counters: &'a Counters,
    /// Whether a part of a sequence can be kept; recurrent models keep all or nothing.
    reuse: bool,
    slots: Vec<Slot>,
    waiting: VecDeque<Job>,
    clock: u64,
}

impl Worker<'_> {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut batch = LlamaBatch::new(self.config.batch as usize, 1);
        let mut demands = Vec::new();
        let mut shares = Vec::new();
        loop {
            if self.idle() {
                match jobs.recv() {
                    Ok(job) => self.waiting.push_back(job),
                    Err(_) => return,
                }
            }
            loop {
                match jobs.try_recv() {
                    Ok(job) => self.waiting.push_back(job),
                    Err(TryRecvError::Empty) => break,
                    // Nobody waits for the replies any more; sequences that are dropped say so.
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let begun = Instant::now();
            self.admit();
            self.demands(&mut demands);
            plan(&demands, self.config.batch as usize, &mut shares);
            let outcome = self.step(&mut batch, &shares);
            if let Err(error) = outcome {
                self.fail_all(&error);
            }
            add(&self.counters.busy_ns, begun);
        }
    }

    fn idle(&self) -> bool {
        self.waiting.is_empty() && self.slots.iter().all(|slot| slot.sequence.is_none())
    }

    /// Gives waiting requests the free places, each the one whose cache serves it best.
    fn admit(&mut self) {
        while !self.waiting.is_empty() {
            let best = self
                .slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.sequence.is_none())
                .max_by_key(|(_, slot)| {
                    let shared = match self.waiting.front() {
                        Some(job) if self.reuse => common(&slot.resident, &job.tokens),
                        _ => 0,
                    };
                    (shared, std::cmp::Reverse(slot.last_used))
                })
                .map(|(index, _)| index);
            let (Some(index), Some(job)) = (best, self.waiting.pop_front()) else {
                return;
            };
            self.place(index, job);
        }
    }

    fn place(&mut self, index: usize, job: Job) {
        // At least one token is decoded, since its row of logits is what is asked for.
        let shared = if self.reuse {
            common(&self.slots[index].resident, &job.tokens).min(job.tokens.len().saturating_sub(1))
        } else {
            0
        };
        let kept = self.forget(index, shared);
        self.clock += 1;
        let slot = &mut self.slots[index];
        slot.arrival = self.clock;
        slot.sequence = Some(Sequence::new(job, kept));
    }

    /// Drops what a place holds from `from` on, and says how much is left: nothing, where the model
    /// cannot forget a part.
    fn forget(&mut self, index: usize, from: usize) -> usize {
        let id = u32::try_from(index).ok();
        let start = u32::try_from(from).ok();
        let kept =
            if from > 0 && matches!(self.context.clear_kv_cache_seq(id, start, None), Ok(true)) {
                from
            } else {
                // Removing a whole sequence always succeeds.
                let _ = self.context.clear_kv_cache_seq(id, None, None);
                0
            };
        self.slots[index].resident.truncate(kept);
        kept
    }

    /// The active sequences, oldest first.
    fn demands(&self, demands: &mut Vec<Demand>) {
        demands.clear();
        demands.extend(self.slots.iter().enumerate().filter_map(|(slot, place)| {
            place.sequence.as_ref().map(|sequence| Demand {
                slot,
                pending: sequence.pending(),
            })
        }));
        demands.sort_by_key(|demand| self.slots[demand.slot].arrival);
    }

    /// Decodes one batch and takes its rows.
    fn step(&mut self, batch: &mut LlamaBatch<'_>, shares: &[Share]) -> Result<(), BackendError> {
        batch.clear();
        let inference = |error: &dyn std::fmt::Display| BackendError::Inference(error.to_string());
        let mut rows: Vec<Option<i32>> = vec![None; self.slots.len()];
        for share in shares {
            let Some(sequence) = &self.slots[share.slot].sequence else {
                continue;
            };
            let last = sequence.decoded + share.tokens;
            for position in sequence.decoded..last {
                let wanted = position + 1 == sequence.tokens.len();
                if wanted {
                    rows[share.slot] = Some(batch.n_tokens());
                }
                batch
                    .add(
                        LlamaToken(sequence.tokens[position].cast_signed()),
                        i32::try_from(position).unwrap_or(i32::MAX),
                        &[i32::try_from(share.slot).unwrap_or(0)],
                        wanted,
                    )
                    .map_err(|error| inference(&error))?;
            }
        }
        let begun = Instant::now();
        self.context
            .decode(batch)
            .map_err(|error| inference(&error))?;
        // With a GPU, decoding is done only when the result is there.
        self.context.synchronize();
        add(&self.counters.decode_ns, begun);
        self.counters.steps.fetch_add(1, Ordering::Relaxed);
        self.counters
            .tokens
            .fetch_add(batch.n_tokens().unsigned_abs().into(), Ordering::Relaxed);
        for share in shares {
            let slot = &mut self.slots[share.slot];
            if let Some(sequence) = &mut slot.sequence {
                let end = sequence.decoded + share.tokens;
                slot.resident
                    .extend_from_slice(&sequence.tokens[sequence.decoded..end]);
                sequence.decoded = end;
            }
        }
        self.take_rows(&rows);
        Ok(())
    }

    /// Draws the next token of every row, all rows in parallel, and finishes what is finished.
    fn take_rows(&mut self, rows: &[Option<i32>]) {
        let context = &self.context;
        let logits: Vec<Option<&[f32]>> = rows
            .iter()
            .map(|row| row.map(|row| context.get_logits_ith(row)))
            .collect();
        let limit = self.config.context_per_sequence as usize;
        let vocab = self.vocab;
        let outcomes: Vec<Option<Next>> = self
            .slots
            .par_iter_mut()
            .zip(logits.par_iter())
            .map(|(slot, logits)| {
                let (sequence, logits) = (slot.sequence.as_mut()?, (*logits)?);
                Some(sequence.advance(logits, vocab, limit))
            })
            .collect();
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                None | Some(Next::Continue) => {}
                Some(Next::Rewind(from)) => {
                    let kept = self.forget(index, from);
                    if let Some(sequence) = &mut self.slots[index].sequence {
                        sequence.decoded = kept;
                    }
                }
                Some(Next::Finished(reply)) => {
                    self.clock += 1;
                    self.slots[index].last_used = self.clock;
                    if let Some(sequence) = self.slots[index].sequence.take() {
                        sequence.resolve(Ok(reply));
                    }
                }
            }
        }
    }

    /// Answers every active request with the error, and starts from an empty cache.
    fn fail_all(&mut self, error: &BackendError) {
        self.context.clear_kv_cache();
        for slot in &mut self.slots {
            slot.resident.clear();
            if let Some(sequence) = slot.sequence.take() {
                sequence.resolve(Err(error.clone()));
            }
        }
    }
}

/// How many tokens two sequences have in common at the front.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

fn add(counter: &AtomicU64, since: Instant) {
    let elapsed = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    counter.fetch_add(elapsed, Ordering::Relaxed);
}

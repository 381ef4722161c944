//! One step: fills the batch, decodes it, and takes its rows.

use std::sync::atomic::Ordering;
use std::time::Instant;

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;
use rayon::prelude::*;

use crate::backend::BackendError;
use crate::backend::llama::cache::{Cache, Cells};
use crate::backend::llama::scheduler::Share;
use crate::backend::llama::sequence::Next;

use super::admission::Waiting;
use super::{NO_NUMBERS, Running, Worker, add};

impl Worker<'_> {
    /// Decodes one batch and takes its rows.
    pub(super) fn step(
        &mut self,
        batch: &mut LlamaBatch<'_>,
        shares: &[Share],
    ) -> Result<(), BackendError> {
        // Whoever was to be decoded gave way; the next plan is about others.
        if shares.is_empty() {
            return Ok(());
        }
        self.set_adapter()?;
        self.fill(batch, shares)?;
        let begun = Instant::now();
        let context = &mut self.context;
        let decoded = self.threads.compute(|| {
            let decoded = context.decode(batch);
            // With a GPU, decoding is done only when the result is there.
            context.synchronize();
            decoded
        });
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
        let (mut index, mut broken) = (0, false);
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
                    broken = true;
                    let error = BackendError::Inference(NO_NUMBERS.to_owned());
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
        if broken {
            self.begin_anew();
        }
    }

    /// Empties the cache, and has everyone read their tokens again: what is no number spoils whatever is multiplied with
    /// it, also where its weight is nothing.
    fn begin_anew(&mut self) {
        for running in self.running.drain(..) {
            let waiting = Waiting::Preempted(running.sequence.step_back());
            self.waiting.insert(running.key, waiting);
            self.counters.preempted.fetch_add(1, Ordering::Relaxed);
        }
        self.context.clear_kv_cache();
        self.cache.clear();
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

//! One request on its way through the context: its tokens, and what to do with the row behind them.

mod beside;
mod job;

use std::time::Instant;

use crate::backend::{BackendError, ReplyTo};
use crate::generation::{Choice, FinishReason, Generation, Reply, Usage, split_thinking};

use super::lookup::Lookup;
use super::sampling::{is_blank, log_softmax};
use super::shape::{Progress, Vocabulary};

use beside::Beside;

pub use job::{Job, Task};

/// What comes after a row.
#[derive(Debug)]
pub enum Next {
    /// Decode the tokens that were pushed.
    Continue,
    /// Forget the tokens from this position on, then decode those that were pushed.
    Rewind(usize),
    /// Decode anew and without guesses what was decoded beside some: the choice behind it is too close to be left to
    /// how that rounds.
    Again,
    /// The row holds no number, so there is nothing to go on from.
    Broken,
    /// The reply is complete.
    Finished(Reply),
}

/// A request that holds a place in the context.
#[derive(Debug)]
pub struct Sequence {
    /// Conversation and reply.
    pub tokens: Vec<u32>,
    /// How many of `tokens` are in the KV cache.
    pub decoded: usize,
    /// Which adapter computes it.
    pub domain: usize,
    /// Tokens proposed to follow `tokens`, decoded with them in this step.
    pub proposals: Vec<u32>,
    /// How many were there when the sequence was admitted first.
    cached: usize,
    room: usize,
    task: Task,
    lookup: Option<Lookup>,
    proposed: usize,
    accepted: usize,
    /// What was decoded beside guesses, where that must change nothing.
    beside: Beside,
    prompt_tokens: usize,
    /// How many tokens it began with.
    start: usize,
    begun: Instant,
    reply: ReplyTo,
}

impl Sequence {
    /// A sequence that finds `cached` of its tokens in the KV cache.
    pub fn new(mut job: Job, cached: usize) -> Self {
        job.tokens.reserve(job.room + 1);
        Self {
            start: job.tokens.len(),
            tokens: job.tokens,
            decoded: cached,
            domain: job.domain,
            proposals: Vec::new(),
            cached,
            room: job.room,
            task: job.task,
            lookup: job.lookup,
            proposed: 0,
            accepted: 0,
            beside: Beside::default(),
            prompt_tokens: job.prompt_tokens,
            begun: Instant::now(),
            reply: job.reply,
        }
    }

    /// Tokens that are not decoded yet.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.decoded
    }

    /// How many of them the next step may decode.
    pub fn due(&self) -> usize {
        let step = self.beside.next_step(self.decoded);
        step.unwrap_or_else(|| self.pending())
    }

    /// How many more tokens it may come to.
    pub fn room(&self) -> usize {
        (self.prompt_tokens + self.room).saturating_sub(self.tokens.len())
    }

    /// What can propose tokens now; `None` where nothing can be proposed.
    pub fn lookup(&self) -> Option<&Lookup> {
        let lookup = self.lookup.as_ref()?;
        let copies = match &self.task {
            Task::Write { .. } => true,
            Task::Fill { writer, .. } => writer.in_text(),
            Task::Choose { .. } => false,
        };
        (copies && !lookup.propose(1).is_empty()).then_some(lookup)
    }

    /// Proposes at most `most` tokens for the next step.
    pub fn propose(&mut self, most: usize) {
        self.proposals.clear();
        if self.beside.is_anew() {
            return;
        }
        // The last token that may be written needs no row behind it.
        let most = most.min(self.room().saturating_sub(1));
        if let Some(lookup) = &self.lookup {
            self.proposals.extend_from_slice(lookup.propose(most));
        }
    }

    /// Takes the rows of a step: the first is the one behind the last token, each further one is the row
    /// behind a proposal. Every row is drawn from in turn for as long as the proposals hold; `decoded`
    /// then counts what is right of the decoded tokens. With `exact`, greedy choices that are close, and
    /// probabilities, are never taken from rows behind what was decoded beside proposals.
    pub fn take(
        &mut self,
        rows: &[&[f32]],
        vocabulary: &impl Vocabulary,
        limit: usize,
        exact: bool,
    ) -> Next {
        let mut used = 0;
        self.beside.caught_up();
        if exact && rows.len() > 1 {
            self.beside.guessed(self.decoded);
        }
        let next = loop {
            if is_blank(rows[used]) {
                break Next::Broken;
            }
            if self.beside.any() && self.is_close(rows[used], vocabulary) {
                break Next::Again;
            }
            let before = self.tokens.len();
            let next = self.advance(rows[used], vocabulary, limit);
            if let Next::Rewind(_) = next {
                break next;
            }
            let new = self.tokens.len() - before;
            self.beside.written(self.tokens.len());
            let right = self.tokens[before..]
                .iter()
                .zip(&self.proposals[used..])
                .take_while(|(written, proposed)| written == proposed)
                .count();
            used += right;
            if let Some(lookup) = &mut self.lookup {
                lookup.observe(&self.tokens[self.start..], new);
            }
            if !matches!(next, Next::Continue) || right < new || used >= rows.len() {
                break next;
            }
        };
        self.proposed += self.proposals.len();
        self.accepted += used;
        self.decoded += used;
        if let Next::Again = next
            && let Some(from) = self.beside.begin_anew()
        {
            self.decoded = from;
        }
        match next {
            // The counts are complete only now.
            Next::Finished(mut reply) => {
                let usage = match &mut reply {
                    Reply::Generated(generation) => &mut generation.usage,
                    Reply::Chosen(choice) => &mut choice.usage,
                };
                *usage = self.usage();
                Next::Finished(reply)
            }
            next => next,
        }
    }

    /// Whether what is taken from a row may differ where it is computed beside others.
    fn is_close(&self, row: &[f32], vocabulary: &impl Vocabulary) -> bool {
        match &self.task {
            Task::Write { sampler, .. } => sampler.is_close(row, |_| true),
            // Among the tokens that the shape allows: one that it forbids may be far ahead of two that tie.
            Task::Fill { sampler, writer } => {
                writer.decides() || sampler.is_close(row, |id| writer.allows(id, vocabulary))
            }
            Task::Choose { .. } => false,
        }
    }

    /// Takes the row behind the last token. `limit` is the most tokens that the sequence may have.
    fn advance(&mut self, logits: &[f32], vocabulary: &impl Vocabulary, limit: usize) -> Next {
        match &mut self.task {
            Task::Write {
                sampler,
                max_tokens,
                ..
            } => {
                // Tokens that no text contains are allowed: they may be what the model ends its turn with.
                let token = sampler.sample(logits, |_| true);
                let written = self.tokens.len() - self.prompt_tokens;
                match token {
                    Some(token) if !vocabulary.ends_turn(token) => {
                        self.tokens.push(token);
                        if written + 1 >= *max_tokens as usize {
                            return self.finish(FinishReason::Length, vocabulary);
                        }
                        if self.tokens.len() >= limit {
                            return self.finish(FinishReason::Context, vocabulary);
                        }
                        Next::Continue
                    }
                    _ => self.finish(FinishReason::Stop, vocabulary),
                }
            }
            Task::Fill { sampler, writer } => {
                match writer.advance(logits, sampler, vocabulary, &mut self.tokens) {
                    Progress::Done => self.finish(FinishReason::Stop, vocabulary),
                    Progress::More if self.tokens.len() > limit => {
                        self.finish(FinishReason::Context, vocabulary)
                    }
                    Progress::More => Next::Continue,
                }
            }
            Task::Choose { .. } => self.score(logits),
        }
    }

    /// Scores one token of one option. The first row scores the first token of every option; after it the
    /// options are walked one by one, each from the end of what they have in common.
    fn score(&mut self, logits: &[f32]) -> Next {
        let base = self.start;
        let usage = self.usage();
        let Task::Choose {
            options,
            scores,
            current,
        } = &mut self.task
        else {
            return Next::Continue;
        };
        let depth = self.tokens.len() - base;
        if depth == 0 {
            let firsts: Vec<u32> = options.iter().filter_map(|o| o.first().copied()).collect();
            *scores = log_softmax(logits, &firsts);
        } else {
            scores[*current] += log_softmax(logits, &options[*current][depth..=depth])[0];
        }
        if depth > 0 && depth + 1 < options[*current].len() {
            self.tokens.push(options[*current][depth]);
            return Next::Continue;
        }
        if depth > 0 {
            *current += 1;
        }
        while *current < options.len() && options[*current].len() < 2 {
            *current += 1;
        }
        if let Some(option) = options.get(*current) {
            self.tokens.truncate(base);
            self.tokens.push(option[0]);
            return Next::Rewind(base);
        }
        let total = scores.iter().map(|s| s.exp()).sum::<f64>().ln();
        let logprobs = scores.iter().map(|s| s - total).collect();
        Next::Finished(Reply::Chosen(Choice { logprobs, usage }))
    }

    /// It gives its place up: what it has written stays, and is read again.
    pub fn step_back(mut self) -> Self {
        self.decoded = 0;
        self.proposals.clear();
        // Everything is read as a prompt is.
        self.beside = Beside::default();
        self
    }

    /// It has a place again, where the first `shared` tokens are in the cache already.
    pub fn admit_again(&mut self, shared: usize) {
        self.decoded = shared;
        // What was lost meanwhile is read once more, and was not taken from the cache after all.
        self.cached = self.cached.min(shared);
    }

    fn usage(&self) -> Usage {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Usage {
            prompt_tokens: count(self.prompt_tokens),
            cached_tokens: count(self.cached.min(self.prompt_tokens)),
            completion_tokens: count(self.tokens.len() - self.prompt_tokens),
            proposed_tokens: count(self.proposed),
            accepted_tokens: count(self.accepted),
            duration_ms: self.begun.elapsed().as_secs_f64() * 1e3,
        }
    }

    fn finish(&self, finish: FinishReason, vocabulary: &impl Vocabulary) -> Next {
        let usage = self.usage();
        let written = self.tokens.get(self.prompt_tokens..).unwrap_or(&[]);
        let (bytes, decisions, thinking) = match &self.task {
            Task::Fill { writer, .. } => {
                (writer.text().to_vec(), writer.decisions().to_vec(), None)
            }
            Task::Write { thinking, .. } => {
                let bytes = written
                    .iter()
                    .flat_map(|&id| vocabulary.piece(id))
                    .copied()
                    .collect();
                (bytes, Vec::new(), *thinking)
            }
            Task::Choose { .. } => (Vec::new(), Vec::new(), None),
        };
        let (raw, invalid_utf8) = match String::from_utf8(bytes) {
            Ok(text) => (text, false),
            Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
        };
        let split = split_thinking(&raw, thinking);
        Next::Finished(Reply::Generated(Generation {
            text: split.answer,
            thinking: split.thinking,
            thinking_unclosed: split.unclosed,
            raw,
            finish,
            decisions,
            invalid_utf8,
            usage,
        }))
    }

    /// Sends the reply.
    pub fn resolve(self, reply: Result<Reply, BackendError>) {
        self.reply.send(reply);
    }
}

/// What all options begin with, and what is left of each.
pub fn common_prefix(options: &mut [Vec<u32>]) -> Vec<u32> {
    let Some(first) = options.first().cloned() else {
        return Vec::new();
    };
    // Every option keeps at least one token of its own, which the first row scores.
    let shortest = options
        .iter()
        .map(Vec::len)
        .min()
        .unwrap_or(0)
        .saturating_sub(1);
    let common = (0..shortest)
        .take_while(|&i| options.iter().all(|option| option[i] == first[i]))
        .count();
    for option in options.iter_mut() {
        option.drain(..common);
    }
    first[..common].to_vec()
}

#[cfg(test)]
mod tests;

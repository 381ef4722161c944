//! In-process llama.cpp: the only room that names `llama_cpp_2`.
//!
//! [`LlamaBackend`] loads a model, turns messages into tokens on the caller's thread, and hands ready
//! [`sequence::Job`]s to the [`worker`], the one thread that owns the context.

pub mod cache;
pub mod context;
#[cfg(target_arch = "x86_64")]
mod cpu;
mod device;
pub mod gguf;
mod load;
pub mod lookup;
pub mod model_ref;
mod options;
pub mod placement;
pub mod prefix;
mod request;
pub mod sampling;
pub mod scheduler;
pub mod score;
pub mod sequence;
mod settings;
pub mod shape;
pub mod step_cost;
pub mod text_value;
mod threads;
pub mod tokenizer;
pub mod vocab;
pub mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
pub use llama_cpp_2::context::params::KvCacheType as CacheType;

use crate::chat_template::ChatTemplate;
use crate::generation::{Message, Request, Shape};

use super::{Backend, BackendError, ModelIdentity, ReplyTo, Ticket, TicketReply};
use context::Sized;
use sequence::Job;
use shape::CompiledShape;
use tokenizer::Tokenizer;
use vocab::Vocab;
use worker::Counters;

pub use device::{Device, DeviceKind, devices, runtime};
pub use load::{chat_template, load_model};
pub use options::{AdapterOptions, LlamaOptions, LookupChoice, TemplateChoice};

/// A loaded model that answers requests.
#[derive(Debug)]
pub struct LlamaBackend {
    identity: ModelIdentity,
    template: ChatTemplate,
    tokenizer: Arc<Tokenizer>,
    vocab: Arc<Vocab>,
    shapes: Mutex<Vec<(Shape, Arc<CompiledShape>)>>,
    deterministic: bool,
    looks_up: bool,
    /// The adapters that requests may name.
    domains: BTreeMap<String, usize>,
    sized: Sized,
    counters: Arc<Counters>,
    jobs: Option<Sender<Job>>,
    worker: Option<JoinHandle<()>>,
}

/// How the step loop spent its time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerStats {
    /// Seconds inside llama.cpp's decode.
    pub decode_seconds: f64,
    /// Seconds during which at least one sequence was active.
    pub busy_seconds: f64,
    /// Decode steps.
    pub steps: u64,
    /// Tokens decoded, of prompts and replies.
    pub tokens: u64,
    /// Sequences that had to give their place in the cache to earlier ones, and began again.
    pub preempted: u64,
}

impl LlamaBackend {
    /// The cache that was made, and why it is so.
    pub fn cache(&self) -> &Sized {
        &self.sized
    }

    /// How the step loop has spent its time so far.
    pub fn stats(&self) -> WorkerStats {
        let seconds = |ns: &std::sync::atomic::AtomicU64| ns.load(Ordering::Relaxed) as f64 / 1e9;
        WorkerStats {
            decode_seconds: seconds(&self.counters.decode_ns),
            busy_seconds: seconds(&self.counters.busy_ns),
            steps: self.counters.steps.load(Ordering::Relaxed),
            tokens: self.counters.tokens.load(Ordering::Relaxed),
            preempted: self.counters.preempted.load(Ordering::Relaxed),
        }
    }
}

impl Backend for LlamaBackend {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn parallelism(&self) -> usize {
        match self.deterministic {
            true => 1,
            // What a chain left in its stream is for its next request, and for no other chain's.
            false if !self.sized.unified && self.sized.goes_on => self.sized.parallel,
            // Some wait, ready and tokenised, so that no place stays empty for a step.
            false => self.sized.parallel + self.sized.parallel.div_ceil(4),
        }
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<u32, BackendError> {
        self.tokens(messages, false)
            .map(|(tokens, _)| u32::try_from(tokens.len()).unwrap_or(u32::MAX))
    }

    fn submit(&self, ticket: Ticket, request: Request, reply: Sender<TicketReply>) {
        let reply = ReplyTo::new(ticket, reply);
        match self.job(&request, reply) {
            // A worker that is gone drops the job, and the job's reply says so.
            Ok(job) => {
                if let Some(jobs) = &self.jobs {
                    let _ = jobs.send(job);
                }
            }
            Err((error, reply)) => reply.send(Err(error)),
        }
    }
}

impl Drop for LlamaBackend {
    fn drop(&mut self) {
        // The worker ends when nobody can send it jobs any more.
        self.jobs = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

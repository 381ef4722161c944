//! How to load and run a model, before anything is known of the model and the machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::generation::Message;

use super::CacheType;
use super::context::{KvChoice, Workload};
use super::threads::Threads;

/// The most tokens of one sequence unless the command line says otherwise; less where the model was
/// trained on less.
const DEFAULT_CONTEXT: u32 = 4096;

/// How to load and run a model.
#[derive(Clone, Debug)]
pub struct LlamaOptions {
    /// The GGUF file.
    pub path: PathBuf,
    /// The digest of the file.
    pub digest: Digest,
    /// A name for people.
    pub name: String,
    /// What else is known of the file.
    pub metadata: BTreeMap<String, String>,
    /// How many sequences are decoded together; `None` for as many as suit workload and memory.
    pub parallel: Option<usize>,
    /// The most tokens of one sequence; `None` for a default that the model can hold.
    pub context_per_sequence: Option<u32>,
    /// The most tokens of one step.
    pub batch: u32,
    /// The most tokens that llama.cpp computes at once.
    pub ubatch: u32,
    /// Threads; `None` for one per core, or fewer while other programs take cores.
    pub threads: Option<u32>,
    /// Layers kept on a GPU; `None` for all that fit beside the cache.
    pub gpu_layers: Option<u32>,
    /// Whether flash attention is forced on or off.
    pub flash_attention: Option<bool>,
    /// Number formats of the cached keys and values.
    pub cache_types: (CacheType, CacheType),
    /// How the cache is laid out.
    pub kv: KvChoice,
    /// Cells of a unified cache; `None` for what suits workload and memory.
    pub cells: Option<u32>,
    /// What the run is going to ask for; its shared prefix is measured from `probes`.
    pub workload: Workload,
    /// Conversations of two different chains at the same step, for each kind of step: what they begin with
    /// alike is the prefix that all chains share.
    pub probes: Vec<[Vec<Message>; 2]>,
    /// Whether tokens are proposed from text that a reply repeats.
    pub lookup: LookupChoice,
    /// Whether products of quantised weights, and attention, are this program's where it has them; llama.cpp's otherwise.
    pub own_products: bool,
    /// LoRA adapters, the one for requests that name none first.
    pub adapters: Vec<AdapterOptions>,
    /// Which chat template to use.
    pub template: TemplateChoice,
    /// One sequence at a time, every step prefilled afresh, so that results depend on nothing else.
    pub deterministic: bool,
}

impl LlamaOptions {
    /// How many sequences are decoded together, where that is asked for.
    pub(super) fn sequences(&self) -> Option<usize> {
        if self.deterministic {
            Some(1)
        } else {
            self.parallel
        }
    }

    /// The threads that compute; `gpu` says whether they wait for one.
    pub(super) fn threads(&self, gpu: bool) -> Threads {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let by_hand = self.threads.and_then(|n| i32::try_from(n).ok());
        let count = by_hand.unwrap_or_else(|| i32::try_from(cores).unwrap_or(1));
        match by_hand.is_some() || self.deterministic || gpu {
            true => Threads::fixed(count),
            false => Threads::up_to(count),
        }
    }

    /// The most tokens of one sequence of a model that was trained on so many.
    pub(super) fn context(&self, trained: u32) -> u32 {
        let wanted = self
            .context_per_sequence
            .unwrap_or(DEFAULT_CONTEXT.min(trained));
        // llama.cpp rounds a context up to a multiple of 256.
        wanted.next_multiple_of(256)
    }
}

/// Whether tokens are proposed from text that a reply repeats. It changes how fast a reply is written, and
/// not which reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LookupChoice {
    /// Where it pays; never in deterministic mode.
    #[default]
    Auto,
    /// The same number of tokens whenever there is something to propose.
    On,
    /// Never.
    Off,
}

/// A LoRA adapter to load.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterOptions {
    /// What requests call it, and what tells it from others in their content keys: digest and scale are part of it.
    /// `None` for the one that requests without an adapter get.
    pub name: Option<String>,
    /// A GGUF file of llama.cpp's adapter format.
    pub path: PathBuf,
    /// The digest of the file.
    pub digest: Digest,
    /// How strongly it is applied; 1 as it was trained.
    pub scale: f32,
}

/// Which chat template to use.
#[derive(Clone, Debug, Default)]
pub struct TemplateChoice {
    /// Name and source of a template that replaces the model's own.
    pub replacement: Option<(String, String)>,
    /// Further variables of the template.
    pub kwargs: Map<String, Value>,
    /// What the template takes for today; `None` for today.
    pub date: Option<jiff::civil::Date>,
}

//! How much cache a run gets, in which layout, and for how many sequences; and the llama.cpp context made
//! of that.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_backend::LlamaBackend as Runtime;
use llama_cpp_2::model::LlamaModel;

use crate::backend::BackendError;

use super::cache::{Cache, CacheConfig, Layout};
use super::gguf::GgufInfo;
use super::prefix::MAX_SEQUENCES;
use super::threads::Threads;

/// Sequences decoded together where nothing else is said: beyond it the processor is busy anyway.
const DEFAULT_PARALLEL: usize = 16;

/// The same where a GPU computes.
const DEFAULT_PARALLEL_GPU: usize = 64;

/// The share of the memory that is free which the cache may take where nothing else is said.
const MEMORY_SHARE: f64 = 0.5;

/// A prefix shared by all chains is worth a unified cache from this many tokens on: every sequence would
/// have to copy and keep it.
const WORTH_UNIFYING: u32 = 256;

/// Tokens of a sequence beyond shared prefix and reply, where a unified cache is measured out.
const TYPICAL_PROMPT: u32 = 512;

/// Whether sequences share one pool of cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvChoice {
    /// As the workload asks for.
    #[default]
    Auto,
    /// One pool.
    Unified,
    /// A stream for every sequence.
    Streams,
}

/// What a run is going to ask for, as far as it is known before it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Tokens that requests of different chains begin with.
    pub shared_prefix: u32,
    /// Requests that share a prompt and are in flight together, such as samples.
    pub fan_out: u32,
    /// About how many tokens a prompt has.
    pub prompt: u32,
    /// Whether the next request of a chain begins with most of its last one.
    pub goes_on: bool,
    /// The most tokens of a reply.
    pub reply: u32,
    /// How many chains there are; `None` where that is not known.
    pub chains: Option<u64>,
}

/// What decides about the size of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Sizing {
    /// The choice of the person.
    pub kv: KvChoice,
    /// Sequences, where the person said how many.
    pub parallel: Option<usize>,
    /// The most tokens of one sequence.
    pub context: u32,
    /// Cells in all, where the person said how many.
    pub cells: Option<u32>,
    /// Bytes of one cell.
    pub cell_bytes: u64,
    /// Bytes that the cache may take, unless the person said how many sequences there are; `None` where
    /// that is not known.
    pub room: Option<u64>,
    /// Whether a GPU computes.
    pub gpu: bool,
    /// Whether a part of a sequence can be shared.
    pub can_share: bool,
    /// Whether some layers look at the last tokens only. llama.cpp gives the cells of tokens that have left that
    /// window to whoever looks for one, so that in a pool a prefix is not what it seems.
    pub window: bool,
    /// Whether attention costs a token what it sees, wherever that lies, and not what a pool holds.
    pub gathers: bool,
    /// What is asked for.
    pub workload: Workload,
}

/// A cache for a run, and why it is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sized {
    /// Sequences decoded together.
    pub parallel: usize,
    /// The most tokens of one of them.
    pub context: u32,
    /// Whether they share one pool.
    pub unified: bool,
    /// Cells in all.
    pub cells: u32,
    /// Their size in bytes.
    pub bytes: u64,
    /// Whether a chain's next request goes on from its last one.
    pub goes_on: bool,
    /// Whether attention costs a token what it sees.
    pub gathers: bool,
    /// Why this layout.
    pub reason: String,
}

impl std::fmt::Display for Sized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let layout = match self.unified {
            true => "one pool",
            false => "a stream for each",
        };
        let tokens = self.context;
        let sequences = match self.parallel {
            1 => format!("1 sequence at a time, of up to {tokens} tokens"),
            n => format!("{n} sequences at a time, of up to {tokens} tokens each"),
        };
        write!(
            f,
            "{sequences}; KV cache: {layout}, {} cells, {} MiB ({})",
            self.cells,
            self.bytes >> 20,
            self.reason
        )
    }
}

/// Measures out a cache. Pure.
pub fn size(sizing: &Sizing) -> Sized {
    let work = &sizing.workload;
    let usual = if sizing.gpu {
        DEFAULT_PARALLEL_GPU
    } else {
        DEFAULT_PARALLEL
    };
    // More places than chains would only take memory.
    let most = work
        .chains
        .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let parallel = sizing
        .parallel
        .unwrap_or(usual)
        .min(most)
        .clamp(1, MAX_SEQUENCES);
    let (unified, mut reason) = layout(sizing);
    if sizing.cells.is_some() && !unified {
        reason.push_str("; --kv-cells is about one pool");
    }
    // Not a whole context for everyone: those that need more wait for cells, or give way.
    let typical = work
        .shared_prefix
        .saturating_add(TYPICAL_PROMPT)
        .saturating_add(work.reply)
        .min(sizing.context);
    let cells_for = |parallel: usize| -> u64 {
        let parallel = parallel as u64;
        let context = u64::from(sizing.context);
        if let (Some(cells), true) = (sizing.cells, unified) {
            // One sequence must be able to have its whole context.
            u64::from(cells).max(context)
        } else if unified {
            let own = u64::from(typical - work.shared_prefix.min(typical));
            // A quarter more, for what finished sequences leave behind.
            let wanted = u64::from(work.shared_prefix) + parallel * own * 5 / 4;
            wanted.clamp(context, context * parallel.max(1))
        } else {
            context * parallel
        }
    };
    let allowed = sizing.room.map(|bytes| bytes / sizing.cell_bytes.max(1));
    let mut fitting = parallel;
    // What the person asked for is tried as it is.
    if let (Some(allowed), None) = (allowed, sizing.parallel) {
        while fitting > 1 && cells_for(fitting) > allowed {
            fitting -= 1;
        }
    }
    let cells = cells_for(fitting)
        .next_multiple_of(256)
        .min(u64::from(u32::MAX / 256 * 256));
    Sized {
        parallel: fitting,
        context: sizing.context,
        unified,
        cells: u32::try_from(cells).unwrap_or(u32::MAX),
        bytes: cells.saturating_mul(sizing.cell_bytes),
        goes_on: work.goes_on,
        gathers: sizing.gathers,
        reason,
    }
}

fn layout(sizing: &Sizing) -> (bool, String) {
    let work = &sizing.workload;
    match sizing.kv {
        _ if !sizing.can_share => (
            false,
            "this model cannot keep a part of a sequence, so nothing is shared".to_owned(),
        ),
        _ if sizing.window => (
            false,
            "layers of this model look at the last tokens only, whose cells cannot be shared"
                .to_owned(),
        ),
        KvChoice::Unified => (true, "as asked for".to_owned()),
        KvChoice::Streams => (false, "as asked for".to_owned()),
        KvChoice::Auto if work.shared_prefix >= WORTH_UNIFYING => (
            true,
            format!(
                "requests of all chains begin with the same {} tokens",
                work.shared_prefix
            ),
        ),
        KvChoice::Auto if work.fan_out > 2 && work.prompt >= WORTH_UNIFYING => (
            true,
            format!("{} requests at a time share a prompt", work.fan_out),
        ),
        KvChoice::Auto if sizing.gathers => (
            true,
            "a token costs what it sees and not what a pool holds".to_owned(),
        ),
        // llama.cpp takes a step of streams apart, which costs a GPU more than looking at all cells.
        KvChoice::Auto if sizing.gpu => (
            true,
            "a GPU computes a step of one pool at once, and one of streams in pieces".to_owned(),
        ),
        KvChoice::Auto => (
            false,
            format!(
                "chains share {} tokens, too few to have every token look at the cells of all",
                work.shared_prefix
            ),
        ),
    }
}

/// Bytes of memory that a new process could have, as Linux estimates them; `None` elsewhere.
pub fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// Of so many free bytes of the host's memory, those that a cache may take where nothing else is said.
pub fn room_in(free: u64) -> u64 {
    (free as f64 * MEMORY_SHARE) as u64
}

/// What the cache keeps of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Layers.
    pub layers: u64,
    /// Heads of a layer that have keys and values.
    pub heads: u64,
    /// Numbers in a key, and in a value.
    pub lengths: (u64, u64),
}

impl Cell {
    /// What is kept of a token of a loaded model.
    pub fn of(model: &LlamaModel) -> Self {
        let value = |key: &str| model.meta_val_str(key).ok();
        let architecture = value("general.architecture").unwrap_or_default();
        let length = |what: &str| -> Option<u64> {
            let text = value(&format!("{architecture}.attention.{what}_length"))?;
            text.parse().ok()
        };
        let width = u64::try_from(model.n_embd()).unwrap_or(0) / u64::from(model.n_head().max(1));
        Self {
            layers: u64::from(model.n_layer()),
            heads: u64::from(model.n_head_kv()),
            lengths: (
                length("key").unwrap_or(width),
                length("value").unwrap_or(width),
            ),
        }
    }

    /// What is kept of a token of a model that is not loaded; `None` where its file does not say.
    pub fn of_file(info: &GgufInfo) -> Option<Self> {
        let width = info.embedding_length? / info.heads?.max(1);
        Some(Self {
            layers: info.layers?,
            heads: info.kv_heads?,
            lengths: (
                info.key_length.unwrap_or(width),
                info.value_length.unwrap_or(width),
            ),
        })
    }

    /// Its bytes, with keys and values in these formats.
    pub fn bytes(&self, types: (KvCacheType, KvCacheType)) -> u64 {
        let bits = |kind: KvCacheType| -> u64 {
            match kind {
                KvCacheType::F32 => 32,
                KvCacheType::Q8_0 => 9,
                KvCacheType::Q5_0 | KvCacheType::Q5_1 => 6,
                KvCacheType::Q4_0 | KvCacheType::Q4_1 => 5,
                _ => 16,
            }
        };
        let head = (self.lengths.0)
            .saturating_mul(bits(types.0))
            .saturating_add(self.lengths.1.saturating_mul(bits(types.1)));
        self.layers.saturating_mul(self.heads).saturating_mul(head) / 8
    }
}

/// How the context is made and used.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Places, layout and reuse.
    pub cache: CacheConfig,
    /// Cells in all.
    pub cells: u32,
    /// The most tokens of one sequence.
    pub context_per_sequence: u32,
    /// The most tokens of one step.
    pub batch: u32,
    /// The most tokens that llama.cpp computes at once.
    pub ubatch: u32,
    /// Threads of llama.cpp.
    pub threads: Threads,
    /// Whether flash attention is forced on or off; `None` lets llama.cpp decide.
    pub flash_attention: Option<bool>,
    /// Number formats of the cached keys and values.
    pub cache_types: (KvCacheType, KvCacheType),
    /// Whether results must not depend on whether tokens were proposed.
    pub exact: bool,
    /// Tokens to propose from text that a reply repeats: a number, 0 for none, `None` for what pays.
    pub lookup: Option<usize>,
}

impl WorkerConfig {
    /// Whether sequences share one pool of cells.
    pub fn unified(&self) -> bool {
        self.cache.layout != Layout::Streams
    }
}

/// Makes a context.
pub fn open<'a>(
    runtime: &Runtime,
    model: &'a LlamaModel,
    config: &WorkerConfig,
) -> Result<LlamaContext<'a>, BackendError> {
    let sequences = u32::try_from(Cache::sequences(&config.cache)).unwrap_or(1);
    let mut params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(config.cells))
        .with_n_seq_max(sequences)
        .with_n_batch(config.batch)
        .with_n_ubatch(config.ubatch)
        .with_n_threads(config.threads.most())
        .with_n_threads_batch(config.threads.most())
        .with_type_k(config.cache_types.0)
        .with_type_v(config.cache_types.1)
        .with_kv_unified(config.unified())
        .with_swa_full(true)
        // Else a GPU would get the weights of layers that it does not keep, with each step of 32 tokens or more.
        .with_op_offload(false)
        .with_no_perf(true);
    if let Some(on) = config.flash_attention {
        params = params.with_flash_attention_policy(i32::from(on));
    }
    model.new_context(runtime, params).map_err(|error| {
        BackendError::Load(format!(
            "llama.cpp could not make a context of {} cells for {} sequences ({error}); lower --parallel or --ctx-size",
            config.cells, config.cache.running
        ))
    })
}

#[cfg(test)]
mod tests;

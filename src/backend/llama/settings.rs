//! What options mean for the worker, and which of them decide a reply.

use std::collections::BTreeMap;

use crate::chat_template::ChatTemplate;
use crate::generation::COMMON_ADAPTER;

use super::cache::{CacheConfig, Layout};
use super::context::{Sized, WorkerConfig};
use super::options::{LlamaOptions, LookupChoice};

/// Tokens of a step in deterministic mode, where chunking must not depend on options.
const DETERMINISTIC_BATCH: u32 = 512;

/// Tokens proposed at a time where lookup is asked for by hand.
const FIXED_PROPOSALS: usize = 7;

/// How the worker's context is made and used.
pub(super) fn worker_config(
    options: &LlamaOptions,
    context: u32,
    reuse: bool,
    gpu: bool,
    sized: &Sized,
) -> WorkerConfig {
    let (batch, ubatch) = match options.deterministic {
        true => (DETERMINISTIC_BATCH, DETERMINISTIC_BATCH),
        false => (options.batch, options.ubatch.min(options.batch)),
    };
    WorkerConfig {
        cache: CacheConfig {
            layout: match sized.unified {
                true => Layout::Unified {
                    cells: sized.cells as usize,
                },
                false => Layout::Streams,
            },
            running: sized.parallel,
            domains: options.adapters.len() + 1,
            reuse,
            crowded: !sized.gathers,
        },
        cells: sized.cells,
        context_per_sequence: context,
        batch: batch.max(u32::try_from(sized.parallel).unwrap_or(1) + 1),
        ubatch,
        threads: options.threads(gpu),
        flash_attention: options.flash_attention,
        cache_types: options.cache_types,
        exact: options.deterministic,
        lookup: match options.lookup {
            LookupChoice::Off => Some(0),
            LookupChoice::On => Some(FIXED_PROPOSALS),
            LookupChoice::Auto if options.deterministic => Some(0),
            LookupChoice::Auto => None,
        },
    }
}

/// Whose products of quantised weights and whose attention this process uses: the program's own where they are wanted and
/// the processor runs them. The first call decides; it comes before anything is computed. `None` where ggml computes
/// everything, and else how this program does.
pub(super) fn products(own: bool) -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    let kernel = super::cpu::choose(own).map(|kernel| format!("{kernel:?}, attention too"));
    #[cfg(not(target_arch = "x86_64"))]
    let kernel: Option<String> = {
        let _ = own;
        None
    };
    tracing::info!(
        "products of Q4_1, Q5_0, Q5_1 and Q8_0 weights on the processor: {}",
        kernel.as_deref().unwrap_or(GGML)
    );
    kernel
}

/// Whose products and attention are used where this program has none.
const GGML: &str = "ggml";

/// Everything besides weights and request that decides a reply, by name. `on_gpu` says how many layers a
/// GPU computes, and `products` whose products and attention are used.
pub(super) fn settings(
    options: &LlamaOptions,
    template: &ChatTemplate,
    config: &WorkerConfig,
    on_gpu: Option<&str>,
    products: Option<&str>,
) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::from([
        ("chat_template".to_owned(), template.digest().to_string()),
        (
            "context_length".to_owned(),
            config.context_per_sequence.to_string(),
        ),
        (
            "flash_attention".to_owned(),
            format!("{:?}", options.flash_attention),
        ),
        (
            "cache_types".to_owned(),
            format!("{:?}", config.cache_types),
        ),
        (
            "deterministic".to_owned(),
            options.deterministic.to_string(),
        ),
    ]);
    // Only where results must not depend on anything else does this become part of the key.
    if options.deterministic {
        settings.insert("threads".to_owned(), config.threads.most().to_string());
        settings.insert("products".to_owned(), products.unwrap_or(GGML).to_owned());
        if let Some(proposals) = config.lookup.filter(|&n| n > 0) {
            settings.insert("lookup".to_owned(), proposals.to_string());
        }
        if let Some(layers) = on_gpu {
            settings.insert("gpu_layers".to_owned(), layers.to_owned());
        }
    }
    // One with a name is in the requests that it computes, whose name for it tells its weights, and decides no others.
    for adapter in options.adapters.iter().filter(|a| a.name.is_none()) {
        settings.insert(
            COMMON_ADAPTER.to_owned(),
            format!("{} × {}", adapter.digest, adapter.scale),
        );
    }
    // A template that tells the date renders other text on another day.
    if let Some(date) = options.template.date.filter(|_| template.tells_date()) {
        settings.insert("date".to_owned(), date.to_string());
    }
    settings
}

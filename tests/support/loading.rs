//! How the default model is loaded here.

use std::collections::BTreeMap;

use amend::backend::llama::context::{KvChoice, Workload};
use amend::backend::llama::{CacheType, LlamaOptions, LookupChoice, TemplateChoice};
use amend::digest::Digest;

use crate::model::default_model;

/// One sequence of 1,024 tokens, on the processor, without guessing.
pub fn default_options() -> LlamaOptions {
    LlamaOptions {
        path: default_model(),
        digest: Digest::of(&"the default model"),
        name: "default".to_owned(),
        metadata: BTreeMap::new(),
        parallel: Some(1),
        context_per_sequence: Some(1024),
        batch: 512,
        ubatch: 512,
        threads: None,
        gpu_layers: Some(0),
        flash_attention: None,
        cache_types: (CacheType::F16, CacheType::F16),
        kv: KvChoice::Auto,
        cells: None,
        workload: Workload::default(),
        probes: Vec::new(),
        lookup: LookupChoice::Off,
        own_products: true,
        adapters: Vec::new(),
        template: TemplateChoice::default(),
        deterministic: false,
    }
}

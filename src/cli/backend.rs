//! From model options to a backend that answers.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, anyhow, bail};
use serde_json::{Map, Value};

use crate::backend::Backend;
use crate::backend::http::HttpBackend;
use crate::backend::llama::context::{KvChoice, Workload};
use crate::backend::llama::gguf::{self, GgufInfo};
use crate::backend::llama::{
    CacheType, LlamaBackend, LlamaOptions, LookupChoice, TemplateChoice, WorkerStats,
};
use crate::backend::scripted::ScriptedBackend;
use crate::chat_template::ChatTemplate;
use crate::generation::Message;

use super::args::{self, BackendKind, ModelArgs, TemplateArgs};
use super::endpoint;
use super::exit::usage;
use super::model::{self, resolve_with_bar};

/// A backend, and what only one kind of it can tell.
pub enum Loaded {
    /// llama.cpp in this process.
    Llama(Box<LlamaBackend>),
    /// A script.
    Scripted(Box<ScriptedBackend>),
    /// A server.
    Http(Box<HttpBackend>),
}

impl Loaded {
    /// The backend.
    pub fn backend(&self) -> &dyn Backend {
        match self {
            Loaded::Llama(backend) => backend.as_ref(),
            Loaded::Scripted(backend) => backend.as_ref(),
            Loaded::Http(backend) => backend.as_ref(),
        }
    }

    /// How the step loop has spent its time, where there is one.
    pub fn stats(&self) -> Option<WorkerStats> {
        match self {
            Loaded::Llama(backend) => Some(backend.stats()),
            Loaded::Scripted(_) | Loaded::Http(_) => None,
        }
    }
}

/// Chains in flight over a script, where nothing else is said.
const SCRIPTED_PARALLEL: usize = 8;

/// What is known of the requests before they come, by which the cache is measured out.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// How many, how long, how much alike.
    pub workload: Workload,
    /// Conversations of two chains at the same step.
    pub probes: Vec<[Vec<Message>; 2]>,
}

/// Loads what the options name, for requests of which `hints` tells.
pub fn load(args: &ModelArgs, deterministic: bool, hints: Hints) -> anyhow::Result<Loaded> {
    if let Some(url) = &args.endpoint.endpoint {
        return endpoint::connect(url, args, deterministic).map(Loaded::Http);
    }
    match args.backend {
        BackendKind::Scripted => scripted(args, deterministic),
        BackendKind::Llama => llama(args, deterministic, hints),
    }
}

fn scripted(args: &ModelArgs, deterministic: bool) -> anyhow::Result<Loaded> {
    let (name, text) = match &args.script {
        None => (String::new(), String::new()),
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("{}: cannot read the script", path.display()))
                .map_err(usage)?;
            (path.display().to_string(), text)
        }
    };
    let parallel = if deterministic {
        1
    } else {
        args.parallel.map_or(SCRIPTED_PARALLEL, usize::from)
    };
    ScriptedBackend::from_yaml(&text, parallel)
        .map(|backend| Loaded::Scripted(Box::new(backend)))
        .map_err(|error| usage(anyhow!("{name}: {error}")))
}

fn llama(args: &ModelArgs, deterministic: bool, hints: Hints) -> anyhow::Result<Loaded> {
    let options = llama_options(args, deterministic, hints)?;
    Ok(Loaded::Llama(Box::new(LlamaBackend::load(&options)?)))
}

/// How to load the model that the options name, which is fetched where it is not there.
pub fn llama_options(
    args: &ModelArgs,
    deterministic: bool,
    hints: Hints,
) -> anyhow::Result<LlamaOptions> {
    // Wrong options are told before a model is fetched and loaded.
    let template = template_choice(&args.template)?;
    if args.script.is_some() {
        bail!(usage(anyhow!("--script needs --backend scripted")));
    }
    if args.cache_type_v.is_below_f16() && args.flash_attn == args::Switch::Off {
        bail!(usage(anyhow!(
            "cached values of a type below f16 need flash attention; leave out --flash-attn off, or --cache-type-v"
        )));
    }
    let reference = model::reference(Some(&args.model), args.hf_repo.as_deref())?;
    let path = resolve_with_bar(&reference, args.offline)?;
    let info = gguf::inspect(&path).map_err(usage)?;
    let digest = gguf::digest(&path)?;
    Ok(LlamaOptions {
        digest,
        name: format!("{} {}", info.name, info.quantisation),
        metadata: metadata(&info),
        path,
        parallel: args.parallel.map(usize::from),
        context_per_sequence: args.ctx_size,
        batch: args.batch_size,
        ubatch: args.ubatch_size,
        threads: args.threads,
        gpu_layers: args.n_gpu_layers.and_then(args::GpuLayers::asked),
        flash_attention: args.flash_attn.forced(),
        cache_types: (cache_type(args.cache_type_k), cache_type(args.cache_type_v)),
        cells: args.kv_cells,
        kv: match args.kv {
            args::Kv::Auto => KvChoice::Auto,
            args::Kv::Unified => KvChoice::Unified,
            args::Kv::Streams => KvChoice::Streams,
        },
        workload: hints.workload,
        probes: hints.probes,
        lookup: match args.lookup {
            args::Switch::Auto => LookupChoice::Auto,
            args::Switch::On => LookupChoice::On,
            args::Switch::Off => LookupChoice::Off,
        },
        own_products: match args.matmul {
            args::Matmul::Auto => !deterministic,
            args::Matmul::Own => true,
            args::Matmul::Ggml => false,
        },
        adapters: args.lora.resolve()?.load,
        template,
        deterministic,
    })
}

fn cache_type(kind: args::CacheType) -> CacheType {
    match kind {
        args::CacheType::F32 => CacheType::F32,
        args::CacheType::F16 => CacheType::F16,
        args::CacheType::Bf16 => CacheType::BF16,
        args::CacheType::Q8_0 => CacheType::Q8_0,
        args::CacheType::Q5_1 => CacheType::Q5_1,
        args::CacheType::Q5_0 => CacheType::Q5_0,
        args::CacheType::Q4_1 => CacheType::Q4_1,
        args::CacheType::Q4_0 => CacheType::Q4_0,
    }
}

/// The chat template that the options name in place of the model's own, and its variables.
pub fn template_choice(args: &TemplateArgs) -> anyhow::Result<TemplateChoice> {
    let replacement = match (&args.chat_template, &args.chat_template_file) {
        (Some(name), _) => {
            let source = ChatTemplate::builtin(name).ok_or_else(|| {
                let known: Vec<_> = ChatTemplate::builtin_names().collect();
                usage(anyhow!(
                    "no chat template is called `{name}`; known: {}",
                    known.join(", ")
                ))
            })?;
            Some((name.clone(), source.to_owned()))
        }
        (None, Some(path)) => {
            let source = fs::read_to_string(path)
                .with_context(|| format!("{}: cannot read the chat template", path.display()))
                .map_err(usage)?;
            // A byte order mark is no text that a model should see.
            let source = source
                .strip_prefix('\u{feff}')
                .unwrap_or(&source)
                .to_owned();
            Some((path.display().to_string(), source))
        }
        (None, None) => None,
    };
    let kwargs = match &args.chat_template_kwargs {
        None => Map::new(),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => bail!(usage(anyhow!(
                "--chat-template-kwargs must be a JSON object"
            ))),
            Err(error) => bail!(usage(anyhow!("--chat-template-kwargs: {error}"))),
        },
    };
    if let Some((name, source)) = &replacement {
        // Whether it compiles does not depend on the model's special tokens.
        ChatTemplate::new(name, source, "", "", kwargs.clone()).map_err(usage)?;
    }
    Ok(TemplateChoice {
        replacement,
        kwargs,
        date: args.chat_template_date,
    })
}

/// What is worth keeping of a model file besides its digest.
fn metadata(info: &GgufInfo) -> BTreeMap<String, String> {
    let number = |value: Option<u64>| value.map(|n| n.to_string());
    [
        ("name", Some(info.name.clone())),
        ("architecture", Some(info.architecture.clone())),
        ("parameters", Some(info.parameters.to_string())),
        ("quantisation", Some(info.quantisation.clone())),
        ("training_context", number(info.training_context)),
        ("file_size", Some(info.file_size.to_string())),
        (
            "chat_template_digest",
            info.chat_template_digest().map(|d| d.to_string()),
        ),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect()
}

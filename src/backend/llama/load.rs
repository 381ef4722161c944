//! From options to a loaded model whose worker runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use crate::backend::{BackendError, ModelIdentity};
use crate::chat_template::ChatTemplate;
use crate::digest::Digest;
use crate::generation::Message;

use super::LlamaBackend;
use super::context::{self, Sizing, WorkerConfig, Workload};
use super::device::runtime;
use super::options::{AdapterOptions, DEFAULT_CONTEXT, LlamaOptions, TemplateChoice};
use super::sequence::Job;
use super::settings::{settings, worker_config};
use super::tokenizer::Tokenizer;
use super::vocab::Vocab;
use super::worker::{self, Adapter, Counters};

/// Loads a model file. With `vocab_only` it can tokenise and nothing else.
pub fn load_model(
    path: &Path,
    gpu_layers: Option<u32>,
    vocab_only: bool,
) -> Result<Arc<LlamaModel>, BackendError> {
    let runtime = runtime()?;
    let mut params = LlamaModelParams::default().with_vocab_only(vocab_only);
    if let Some(layers) = gpu_layers {
        params = params.with_n_gpu_layers(layers);
    }
    if !path.is_file() {
        return Err(BackendError::Load(format!(
            "{}: no such model file",
            path.display()
        )));
    }
    LlamaModel::load_from_file(runtime, path, &params)
        .map(Arc::new)
        .map_err(|error| {
            BackendError::Load(format!(
                "{}: llama.cpp cannot load this model ({error}); run with -vv for its log",
                path.display()
            ))
        })
}

/// The chat template to use with a model: the replacement, the model's own, or ChatML where it has none.
pub fn chat_template(
    tokenizer: &Tokenizer,
    choice: &TemplateChoice,
) -> Result<ChatTemplate, BackendError> {
    let (name, source) = match (&choice.replacement, tokenizer.chat_template()) {
        (Some((name, source)), _) => (name.clone(), source.clone()),
        (None, Some(source)) => ("model".to_owned(), source),
        (None, None) => {
            tracing::warn!(
                "the model file has no chat template; using ChatML (--chat-template NAME or --chat-template-file FILE choose another)"
            );
            let source = ChatTemplate::builtin("chatml").unwrap_or_default();
            ("chatml".to_owned(), source.to_owned())
        }
    };
    let (bos, eos) = (tokenizer.bos_text(), tokenizer.eos_text());
    let today = choice.date.unwrap_or_else(|| jiff::Zoned::now().date());
    let noon = today.at(12, 0, 0, 0);
    ChatTemplate::at(&name, &source, &bos, &eos, choice.kwargs.clone(), noon)
        .map_err(|error| BackendError::Load(error.to_string()))
}

/// Adapters by domain, and the domain of every name.
pub(super) type Adapters = (Vec<Option<Adapter>>, BTreeMap<String, usize>);

/// Whether layers of the model look at the last tokens only.
fn has_window(model: &LlamaModel) -> bool {
    let value = |key: &str| model.meta_val_str(key).ok();
    let window = value("general.architecture")
        .and_then(|name| value(&format!("{name}.attention.sliding_window")))
        .and_then(|tokens| tokens.parse::<u64>().ok());
    window.is_some_and(|tokens| tokens > 0)
}

/// Loads the adapters; domain 0 is the one of requests that name none.
pub(super) fn load_adapters(
    model: &mut Arc<LlamaModel>,
    options: &[AdapterOptions],
) -> Result<Adapters, BackendError> {
    let (mut adapters, mut names) = (vec![None], BTreeMap::new());
    for option in options {
        let failed = |error: &dyn std::fmt::Display| {
            BackendError::Load(format!(
                "{}: llama.cpp cannot load this LoRA adapter ({error}); it must be a GGUF adapter made for this model",
                option.path.display()
            ))
        };
        if !option.path.is_file() {
            return Err(failed(&"no such file"));
        }
        let Some(model) = Arc::get_mut(model) else {
            return Err(failed(&"the model is in use"));
        };
        let adapter = model
            .lora_adapter_init(&option.path)
            .map_err(|error| failed(&error))?;
        let loaded = Some((adapter, option.scale));
        match &option.name {
            None => adapters[0] = loaded,
            Some(name) => {
                names.insert(name.clone(), adapters.len());
                adapters.push(loaded);
            }
        }
    }
    Ok((adapters, names))
}

impl LlamaBackend {
    /// Loads the model and starts the worker.
    pub fn load(options: &LlamaOptions) -> Result<Self, BackendError> {
        let mut model = load_model(&options.path, options.gpu_layers, false)?;
        let (adapters, domains) = load_adapters(&mut model, &options.adapters)?;
        let tokenizer = Arc::new(Tokenizer::new(Arc::clone(&model)));
        let template = chat_template(&tokenizer, &options.template)?;
        let vocab = Arc::new(Vocab::new(Arc::clone(&tokenizer)));
        let trained = model.n_ctx_train().max(1);
        let wanted = options
            .context_per_sequence
            .unwrap_or(DEFAULT_CONTEXT.min(trained));
        if wanted > trained {
            tracing::warn!(
                "a context of {wanted} tokens is longer than the {trained} that the model was trained on"
            );
        }
        // llama.cpp rounds a context up to a multiple of 256.
        let context = wanted.next_multiple_of(256);
        let can_share = !model.is_recurrent() && !model.is_hybrid();
        let gpu = runtime()?.supports_gpu_offload() && options.gpu_layers != Some(0);
        let memory = context::free_memory();
        let sized = context::size(&Sizing {
            kv: options.kv,
            parallel: if options.deterministic {
                Some(1)
            } else {
                options.parallel
            },
            context,
            cells: options.cells,
            cell_bytes: context::cell_bytes(&model, options.cache_types),
            memory,
            gpu,
            can_share,
            window: has_window(&model),
            workload: Workload {
                shared_prefix: shared_prefix(&template, &tokenizer, &options.probes),
                ..options.workload
            },
        });
        // The system would end this process without a word.
        if let Some(free) = memory.filter(|free| !gpu && sized.bytes > *free) {
            return Err(BackendError::Load(format!(
                "a KV cache for {} sequences takes {} MiB, and {} MiB of memory are free; lower --parallel or --ctx-size",
                sized.parallel,
                sized.bytes >> 20,
                free >> 20
            )));
        }
        let config = worker_config(
            options,
            context,
            can_share && !options.deterministic,
            &sized,
        );
        tracing::info!("{sized}");
        let settings = settings(options, &template, &config);
        let identity = ModelIdentity {
            digest: options.digest.clone(),
            name: options.name.clone(),
            settings_digest: Digest::of(&settings),
            settings,
            context_length: config.context_per_sequence,
            chat_template: template.name().to_owned(),
            metadata: options.metadata.clone(),
        };
        let counters = Arc::new(Counters::default());
        let deterministic = options.deterministic;
        let looks_up = config.lookup != Some(0) && can_share;
        let (jobs, worker) = start(
            model,
            Arc::clone(&vocab),
            config,
            adapters,
            Arc::clone(&counters),
        )?;
        Ok(Self {
            identity,
            template,
            tokenizer,
            vocab,
            shapes: Mutex::default(),
            deterministic,
            looks_up,
            domains,
            sized,
            counters,
            jobs: Some(jobs),
            worker: Some(worker),
        })
    }
}

/// The most tokens that all chains begin a request with: for each kind of step, what two of them have in
/// common.
fn shared_prefix(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    probes: &[[Vec<Message>; 2]],
) -> u32 {
    let encode = |messages: &[Message]| {
        let spans = template.render(messages, true).unwrap_or_default();
        tokenizer.encode(&spans)
    };
    let longest = probes.iter().map(|[a, b]| {
        let (a, b) = (encode(a), encode(b));
        a.iter().zip(&b).take_while(|(x, y)| x.id == y.id).count()
    });
    u32::try_from(longest.max().unwrap_or(0)).unwrap_or(u32::MAX)
}

/// Starts the worker thread and waits until its context is there.
fn start(
    model: Arc<LlamaModel>,
    vocab: Arc<Vocab>,
    config: WorkerConfig,
    adapters: Vec<Option<Adapter>>,
    counters: Arc<Counters>,
) -> Result<(Sender<Job>, JoinHandle<()>), BackendError> {
    let runtime = runtime()?;
    let (jobs, inbox) = crossbeam_channel::unbounded();
    let (ready, is_ready) = crossbeam_channel::bounded(1);
    let worker = std::thread::Builder::new()
        .name("inference".to_owned())
        .spawn(move || {
            worker::run(
                runtime, &model, &vocab, &config, adapters, &counters, &inbox, &ready,
            );
        })
        .map_err(|error| BackendError::Load(format!("cannot start a thread: {error}")))?;
    is_ready.recv().map_err(|_| BackendError::Stopped)??;
    Ok((jobs, worker))
}

//! From options to a loaded model whose worker runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use llama_cpp_2::context::params::KvCacheType;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use crate::backend::{BackendError, ModelIdentity};
use crate::chat_template::ChatTemplate;
use crate::digest::Digest;
use crate::generation::Message;

use super::LlamaBackend;
use super::context::{self, Cell, Sizing, WorkerConfig, Workload};
use super::device::{devices, free_on_gpus, runtime};
use super::gguf::{self, GgufInfo};
use super::options::{AdapterOptions, LlamaOptions, TemplateChoice};
use super::placement::{self, Load, MARGIN};
use super::sequence::Job;
use super::settings::{products, settings, worker_config};
use super::tokenizer::Tokenizer;
use super::vocab::Vocab;
use super::worker::{self, Adapter, Counters};

/// Sequences whose cache finds room beside the layers on a GPU, where nobody says how many there are.
/// With fewer a step has little to compute; for more, a layer less on the GPU is a bad bargain.
const SEQUENCES_BESIDE: usize = 4;

/// How many layers the GPUs keep: what the person said, or as many as fit beside the cache. `None` leaves
/// it to llama.cpp, which takes all.
pub(super) fn gpu_layers(options: &LlamaOptions) -> Result<Option<u32>, BackendError> {
    if options.gpu_layers.is_some() || !runtime()?.supports_gpu_offload() {
        return Ok(options.gpu_layers);
    }
    // What cannot be measured is tried as a whole.
    let Some(free) = free_on_gpus(&devices()?) else {
        return Ok(None);
    };
    let Ok(info) = gguf::inspect(&options.path) else {
        return Ok(None);
    };
    let placed = placement::fit(&Load {
        free: &free,
        layers: &info.weights.layers(),
        output: info.weights.output(),
        cache: cache_beside(options, &info),
    });
    if placed.layers == placed.all {
        tracing::info!("{placed}");
        return Ok(None);
    }
    tracing::warn!(
        "{placed}; the processor computes the others, which is slower; a smaller quantisation, --ctx-size or --parallel leaves room for more, and -ngl sets the number"
    );
    Ok(Some(placed.layers))
}

/// Bytes of the cache that layers on a GPU are placed beside.
fn cache_beside(options: &LlamaOptions, info: &GgufInfo) -> u64 {
    let trained = info.training_context.unwrap_or(u64::MAX).max(1);
    let sized = context::size(&Sizing {
        kv: options.kv,
        parallel: options.sequences().or(Some(SEQUENCES_BESIDE)),
        context: options.context(u32::try_from(trained).unwrap_or(u32::MAX)),
        cells: options.cells,
        cell_bytes: Cell::of_file(info).map_or(0, |cell| cell.bytes(options.cache_types)),
        room: None,
        gpu: true,
        can_share: true,
        window: false,
        gathers: false,
        workload: options.workload,
    });
    sized.bytes
}

/// Bytes that a cache may take beside a model whose layers are on the GPUs; `host` is its part of the
/// host's memory.
fn room_beside(
    model: &LlamaModel,
    gpu_layers: Option<u32>,
    host: Option<u64>,
) -> Result<Option<u64>, BackendError> {
    let free = free_on_gpus(&devices()?);
    let gpu = free.map(|free| {
        free.iter()
            .map(|bytes| bytes.saturating_sub(MARGIN))
            .sum::<u64>()
    });
    // What computes the logits is placed first, and keeps nothing in the cache.
    let placed = gpu_layers.map_or(u32::MAX, |layers| layers.saturating_sub(1));
    Ok(placement::cache_room(gpu, host, placed, model.n_layer()))
}

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
    let architecture = model.meta_val_str("general.architecture");
    let architecture = architecture.unwrap_or_default();
    let named = model.meta_val_str(&format!("{architecture}.attention.sliding_window"));
    looks_back_only_so_far(&architecture, model.n_layer(), named.ok().as_deref())
}

/// The same by what a file says: its architecture, its layers, and the window where it names one. llama.cpp gives
/// some architectures a window of their own where the file names none.
fn looks_back_only_so_far(architecture: &str, layers: u32, named: Option<&str>) -> bool {
    match (named, architecture) {
        (Some(window), _) => window.parse().is_ok_and(|window: f64| window > 0.0),
        (None, "gemma2" | "llama4") => true,
        (None, "exaone4") => layers == 64,
        (None, _) => false,
    }
}

/// Whether attention of this model is one that this program has: over halves, without bias and caps.
fn gathers(model: &LlamaModel, options: &LlamaOptions) -> bool {
    options.cache_types == (KvCacheType::F16, KvCacheType::F16)
        && options.flash_attention != Some(false)
        && number(model, "attention.max_alibi_bias") == 0.0
        && number(model, "attn_logit_softcapping") == 0.0
}

/// A number that the model's file gives for its architecture; zero where it gives none.
fn number(model: &LlamaModel, key: &str) -> f64 {
    let value = |key: &str| model.meta_val_str(key).ok();
    value("general.architecture")
        .and_then(|name| value(&format!("{name}.{key}")))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0)
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
        let gpu_layers = gpu_layers(options)?;
        let mut model = load_model(&options.path, gpu_layers, false)?;
        let (adapters, domains) = load_adapters(&mut model, &options.adapters)?;
        let tokenizer = Arc::new(Tokenizer::new(Arc::clone(&model)));
        let template = chat_template(&tokenizer, &options.template)?;
        let vocab = Arc::new(Vocab::new(Arc::clone(&tokenizer)));
        let trained = model.n_ctx_train().max(1);
        if let Some(wanted) = options.context_per_sequence.filter(|&n| n > trained) {
            tracing::warn!(
                "a context of {wanted} tokens is longer than the {trained} that the model was trained on"
            );
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if let Some(threads) = options.threads.filter(|&n| n as usize > cores) {
            tracing::warn!(
                "{threads} threads on {} wait for each other, which is slow",
                if cores == 1 {
                    "1 core".to_owned()
                } else {
                    format!("{cores} cores")
                }
            );
        }
        let context = options.context(trained);
        let can_share = !model.is_recurrent() && !model.is_hybrid();
        let gpu = runtime()?.supports_gpu_offload() && gpu_layers != Some(0);
        let memory = context::free_memory();
        let room = memory.map(context::room_in);
        let products = products(options.own_products);
        let sized = context::size(&Sizing {
            kv: options.kv,
            parallel: options.sequences(),
            context,
            cells: options.cells,
            cell_bytes: Cell::of(&model).bytes(options.cache_types),
            room: match gpu {
                true => room_beside(&model, gpu_layers, room)?,
                false => room,
            },
            gpu,
            can_share,
            window: has_window(&model),
            gathers: products.is_some() && !gpu && gathers(&model, options),
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
            gpu,
            &sized,
        );
        tracing::info!("{sized}");
        // What computes the logits counts as a layer too.
        let on_gpu = gpu_layers.filter(|&layers| layers <= model.n_layer());
        let on_gpu = on_gpu.map_or("all".to_owned(), |layers| layers.to_string());
        let on_gpu = gpu.then_some(on_gpu.as_str());
        let settings = settings(options, &template, &config, on_gpu, products.as_deref());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_known_also_where_the_file_names_none() {
        for (architecture, layers, named, expected) in [
            ("llama", 30, None, false),
            ("gemma3", 30, Some("512"), true),
            ("gemma2", 26, None, true),
            ("llama4", 48, None, true),
            ("llama4", 48, Some("0"), false),
            ("exaone4", 30, None, false),
            ("exaone4", 64, None, true),
        ] {
            let found = looks_back_only_so_far(architecture, layers, named);
            assert_eq!(found, expected, "{architecture} {layers} {named:?}");
        }
    }
}

//! In-process llama.cpp: the only room that names `llama_cpp_2`.
//!
//! [`LlamaBackend`] loads a model, turns messages into tokens on the caller's thread, and hands ready
//! [`sequence::Job`]s to the [`worker`], the one thread that owns the context.

pub mod cache;
pub mod context;
pub mod gguf;
pub mod lookup;
#[cfg(target_arch = "x86_64")]
pub mod matmul;
pub mod model_ref;
pub mod prefix;
pub mod sampling;
pub mod scheduler;
pub mod score;
pub mod sequence;
pub mod shape;
pub mod step_cost;
pub mod text_value;
pub mod tokenizer;
pub mod vocab;
pub mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
pub use llama_cpp_2::context::params::KvCacheType as CacheType;
use llama_cpp_2::llama_backend::LlamaBackend as Runtime;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use serde_json::{Map, Value};

use crate::chat_template::{ChatTemplate, Span};
use crate::digest::Digest;
use crate::generation::{Generate, Message, Request, Shape};

use super::{Backend, BackendError, ModelIdentity, Ticket, TicketReply};
use cache::{CacheConfig, Layout};
use context::{KvChoice, Sized, Sizing, WorkerConfig, Workload};
use lookup::Lookup;
use sampling::Sampler;
use sequence::{Job, ReplyTo, Task, common_prefix};
use shape::{CompiledShape, ShapeWriter};
use tokenizer::Tokenizer;
use vocab::Vocab;
use worker::{Adapter, Counters};

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
    /// Threads; `None` for one per core.
    pub threads: Option<u32>,
    /// Layers kept on a GPU; `None` for all that llama.cpp can place.
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
    /// Whether products of quantised weights are this program's where it has them; llama.cpp's otherwise.
    pub own_products: bool,
    /// LoRA adapters, the one for requests that name none first.
    pub adapters: Vec<AdapterOptions>,
    /// Which chat template to use.
    pub template: TemplateChoice,
    /// One sequence at a time, every step prefilled afresh, so that results depend on nothing else.
    pub deterministic: bool,
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
    /// What requests call it; `None` for the one that requests without an adapter get.
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

/// llama.cpp's process-wide state. It can be made once, so every model shares it.
pub fn runtime() -> Result<&'static Runtime, BackendError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            let logs = llama_cpp_2::LogOptions::default().with_logs_enabled(true);
            llama_cpp_2::send_logs_to_tracing(logs);
            Runtime::init().map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(|error| BackendError::Load(error.clone()))
}

/// Something that llama.cpp can compute on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name, such as `CUDA0`.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Bytes of memory, and how many of them are free; 0 where that is not known.
    pub memory: (u64, u64),
}

/// The devices of this build of llama.cpp.
pub fn devices() -> Result<Vec<Device>, BackendError> {
    runtime()?;
    let devices = llama_cpp_2::list_llama_ggml_backend_devices();
    Ok(devices
        .into_iter()
        .map(|device| Device {
            name: device.name,
            description: device.description,
            memory: (device.memory_total as u64, device.memory_free as u64),
        })
        .collect())
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

/// Tokens of a step in deterministic mode, where chunking must not depend on options.
const DETERMINISTIC_BATCH: u32 = 512;

/// Tokens proposed at a time where lookup is asked for by hand.
const FIXED_PROPOSALS: usize = 7;

fn worker_config(options: &LlamaOptions, context: u32, reuse: bool, sized: &Sized) -> WorkerConfig {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.and_then(|n| i32::try_from(n).ok());
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
        },
        cells: sized.cells,
        context_per_sequence: context,
        batch: batch.max(u32::try_from(sized.parallel).unwrap_or(1) + 1),
        ubatch,
        threads: threads.unwrap_or_else(|| i32::try_from(cores).unwrap_or(1)),
        flash_attention: options
            .flash_attention
            .or((reuse && sized.dense && plain(options.cache_types.1)).then_some(false)),
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

/// Whether values of this format can be read without flash attention.
fn plain(values: CacheType) -> bool {
    matches!(values, CacheType::F32 | CacheType::F16 | CacheType::BF16)
}

/// Adapters by domain, and the domain of every name.
type Adapters = (Vec<Option<Adapter>>, BTreeMap<String, usize>);

/// Whether layers of the model look at the last tokens only.
fn has_window(model: &LlamaModel) -> bool {
    let value = |key: &str| model.meta_val_str(key).ok();
    let window = value("general.architecture")
        .and_then(|name| value(&format!("{name}.attention.sliding_window")))
        .and_then(|tokens| tokens.parse::<u64>().ok());
    window.is_some_and(|tokens| tokens > 0)
}

/// Loads the adapters; domain 0 is the one of requests that name none.
fn load_adapters(
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

/// Chooses whose products of quantised weights are used in this process, and names them.
fn products(own: bool) -> String {
    #[cfg(target_arch = "x86_64")]
    let kernel = matmul::install(own).map(|kernel| format!("{kernel:?}"));
    #[cfg(not(target_arch = "x86_64"))]
    let kernel: Option<String> = None.filter(|_| own);
    kernel.unwrap_or_else(|| "ggml".to_owned())
}

/// Everything besides weights and request that decides a reply, by name.
fn settings(
    options: &LlamaOptions,
    template: &ChatTemplate,
    config: &WorkerConfig,
    products: &str,
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
        settings.insert("threads".to_owned(), config.threads.to_string());
        settings.insert("products".to_owned(), products.to_owned());
        if let Some(proposals) = config.lookup.filter(|&n| n > 0) {
            settings.insert("lookup".to_owned(), proposals.to_string());
        }
    }
    for adapter in &options.adapters {
        let name = adapter.name.as_deref().unwrap_or("all steps");
        settings.insert(
            format!("lora of {name}"),
            format!("{} × {}", adapter.digest, adapter.scale),
        );
    }
    // A template that tells the date renders other text on another day.
    if let Some(date) = options.template.date.filter(|_| template.tells_date()) {
        settings.insert("date".to_owned(), date.to_string());
    }
    settings
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
        let products = products(options.own_products);
        tracing::info!("products of quantised weights: {products}");
        let settings = settings(options, &template, &config, &products);
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

    /// The tokens of a conversation, ready for the reply, and the closing tag of the think block that it
    /// ends in. With `close`, such a block is closed at once: what follows is no thought.
    fn tokens(
        &self,
        messages: &[Message],
        close: bool,
    ) -> Result<(Vec<u32>, Option<&'static str>), BackendError> {
        let mut spans = self
            .template
            .render(messages, true)
            .map_err(|error| BackendError::Template(error.to_string()))?;
        let mut thinking = self.template.opens_thinking(&spans);
        if let Some(tag) = thinking.filter(|_| close) {
            spans.push(Span {
                text: format!("{tag}\n\n"),
                trusted: true,
            });
            thinking = None;
        }
        let tokens = self
            .tokenizer
            .encode(&spans)
            .into_iter()
            .map(|t| t.id.cast_unsigned())
            .collect();
        Ok((tokens, thinking))
    }

    fn compiled(&self, shape: &Shape) -> Arc<CompiledShape> {
        // A poisoned lock only means that another thread panicked between two pushes; the list is whole.
        let mut shapes = self
            .shapes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, compiled)) = shapes.iter().find(|(known, _)| known == shape) {
            return Arc::clone(compiled);
        }
        let compiled = Arc::new(CompiledShape::new(shape, self.vocab.as_ref()));
        shapes.push((shape.clone(), Arc::clone(&compiled)));
        compiled
    }

    /// Proposes from the text that a reply is likely to repeat.
    fn lookup(&self, request: &Request) -> Option<Lookup> {
        let Request::Generate(generate) = request else {
            return None;
        };
        let text = generate.repeats.as_ref().filter(|_| self.looks_up)?;
        let source = self.tokenizer.encode_continuation(text);
        let source = source.into_iter().map(i32::cast_unsigned).collect();
        Some(Lookup::new(source, generate.shape.is_none()))
    }

    fn job(&self, request: &Request, reply: ReplyTo) -> Result<Job, (BackendError, ReplyTo)> {
        let domain = match request.adapter() {
            None => 0,
            Some(name) => match self.domains.get(name) {
                Some(&domain) => domain,
                None => {
                    let error = format!("no adapter `{name}` was loaded");
                    return Err((BackendError::Inference(error), reply));
                }
            },
        };
        let writes_text = matches!(request, Request::Generate(Generate { shape: None, .. }));
        let (mut tokens, thinking) = match self.tokens(request.messages(), !writes_text) {
            Ok(tokens) => tokens,
            Err(error) => return Err((error, reply)),
        };
        let prompt_tokens = tokens.len();
        let (task, room) = match request {
            Request::Generate(Generate {
                sampling,
                seed,
                shape,
                ..
            }) => {
                let sampler = Sampler::new(sampling.clone(), *seed);
                match shape {
                    None => {
                        let max_tokens = sampling.max_tokens.max(1);
                        (
                            Task::Write {
                                sampler,
                                max_tokens,
                                thinking,
                            },
                            max_tokens as usize,
                        )
                    }
                    Some(shape) => {
                        let compiled = self.compiled(shape);
                        let room = compiled.max_tokens();
                        let writer = ShapeWriter::new(compiled, &mut tokens);
                        (Task::Fill { sampler, writer }, room)
                    }
                }
            }
            Request::Choose(choose) => {
                let mut options: Vec<Vec<u32>> = choose
                    .options
                    .iter()
                    .map(|option| {
                        let ids = self.tokenizer.encode_continuation(option);
                        ids.into_iter().map(i32::cast_unsigned).collect()
                    })
                    .collect();
                if options.len() < 2 || options.iter().any(Vec::is_empty) {
                    let error = "a choice needs two options or more, none of them empty".to_owned();
                    return Err((BackendError::Inference(error), reply));
                }
                tokens.extend(common_prefix(&mut options));
                let room = options.iter().map(Vec::len).max().unwrap_or(0);
                (
                    Task::Choose {
                        options,
                        scores: Vec::new(),
                        current: 0,
                    },
                    room,
                )
            }
        };
        let context = self.identity.context_length;
        // Free text ends where the context does; a shape must come to its end.
        let needed = if writes_text { 1 } else { room };
        if prompt_tokens + needed > context as usize {
            let tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
            return Err((BackendError::ContextExceeded { tokens, context }, reply));
        }
        Ok(Job {
            tokens,
            prompt_tokens,
            room: room.min(context as usize - prompt_tokens),
            domain,
            lookup: self.lookup(request),
            task,
            reply,
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

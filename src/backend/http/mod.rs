//! A server that answers over HTTP: llama-server, vLLM, or another one with OpenAI's protocol.
//!
//! [`HttpBackend`] keeps as many threads as requests are worth having in flight; each sends one request
//! at a time and waits for it. What is sent depends on the server ([`Api`]): llama-server takes tokens
//! and tells exact probabilities ([`llama_server`]), the others take messages ([`openai`]).

mod address;
mod answer;
mod client;
mod context;
mod filling;
mod identity;
mod llama_server;
mod logprobs;
mod openai;
mod shape;
mod stop;
mod tokens;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::chat_template::ChatTemplate;
use crate::digest::Digest;
use crate::generation::{Message, Reply, Request};

use super::{Backend, BackendError, ModelIdentity, ReplyTo, Ticket, TicketReply};
pub use address::{Address, Secret};
use client::Client;
pub use client::Patience;
use identity::{Introduction, Kind};
use llama_server::LlamaServer;
use openai::OpenAi;
use stop::Stop;
use tokens::Tokens;

/// The order in which samplers are applied, as in this process.
const SAMPLERS: [&str; 4] = ["top_k", "top_p", "min_p", "temperature"];

/// Bytes of a token where nobody counts tokens.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens that a chat template adds to a message, where nobody counts tokens.
const TOKENS_PER_MESSAGE: usize = 8;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// llama-server's own protocol where the server is one, the common one elsewhere.
    Auto,
    /// `/v1/chat/completions`, which every server has.
    OpenAi,
    /// `/tokenize` and `/completion`.
    LlamaServer,
}

/// Why a server cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ConnectError {
    /// It has no such model, or several and none was named.
    #[error("{0}")]
    Model(String),
    /// Anything else.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// Which server, and how to use it.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Where it is.
    pub address: Address,
    /// The model by the server's name for it; `None` where it has one only.
    pub model: Option<String>,
    /// The access token.
    pub token: Option<Secret>,
    /// How many requests are sent at a time.
    pub parallel: usize,
    /// How long to wait, and how often to try again.
    pub patience: Patience,
    /// How it is spoken to.
    pub api: Api,
    /// Further variables of the chat template.
    pub kwargs: Map<String, Value>,
    /// What the template takes for today, where it is rendered here.
    pub date: jiff::civil::Date,
}

/// A server that has introduced itself.
#[derive(Debug)]
pub struct HttpBackend {
    identity: ModelIdentity,
    protocol: Arc<Protocol>,
    parallel: usize,
    jobs: Option<Sender<Job>>,
    /// What no thread has taken yet.
    waiting: Receiver<Job>,
    stop: Arc<Stop>,
}

/// The protocol that was settled on.
#[derive(Debug)]
enum Protocol {
    OpenAi(OpenAi),
    LlamaServer(Box<LlamaServer>),
}

/// A request on its way to the server.
struct Job {
    request: Request,
    reply: ReplyTo,
}

impl HttpBackend {
    /// Asks the server who it is, and starts the threads.
    pub fn connect(options: &HttpOptions) -> Result<Self, ConnectError> {
        let stop = Arc::new(Stop::default());
        let parallel = options.parallel.max(1);
        let client = Arc::new(Client::new(
            options.address.clone(),
            options.token.clone(),
            options.patience,
            parallel,
            Arc::clone(&stop),
        ));
        let introduction = Introduction::ask(&client, options.model.as_deref())?;
        if let Some(slots) = introduction
            .slots()
            .filter(|slots| *slots < parallel as u64)
        {
            tracing::info!(
                "the server answers {slots} requests at a time; the others of --parallel {parallel} wait there"
            );
        }
        let (protocol, identity) = settle(&client, &introduction, options)?;
        let protocol = Arc::new(protocol);
        let (jobs, inbox) = crossbeam_channel::unbounded();
        for number in 0..parallel {
            let (protocol, inbox, stop) = (Arc::clone(&protocol), inbox.clone(), Arc::clone(&stop));
            std::thread::Builder::new()
                .name(format!("endpoint-{number}"))
                .spawn(move || serve(&protocol, &inbox, &stop))
                .map_err(|error| BackendError::Load(format!("cannot start a thread: {error}")))?;
        }
        Ok(Self {
            identity,
            protocol,
            parallel,
            jobs: Some(jobs),
            waiting: inbox,
            stop,
        })
    }
}

/// Chooses the protocol, and says who answers through it.
fn settle(
    client: &Arc<Client>,
    introduction: &Introduction,
    options: &HttpOptions,
) -> Result<(Protocol, ModelIdentity), BackendError> {
    let own = match options.api {
        Api::OpenAi => None,
        Api::Auto if introduction.kind != Kind::LlamaServer => None,
        Api::Auto => llama_server(client, introduction, options)
            .inspect_err(|error| {
                tracing::warn!("{error}; using /v1/chat/completions instead");
            })
            .ok(),
        Api::LlamaServer => Some(llama_server(client, introduction, options)?),
    };
    let mut settings = BTreeMap::new();
    if let Some(server) = own {
        let template = server.template.digest().to_string();
        settings.insert("api".to_owned(), "llama-server".to_owned());
        settings.insert("chat_template".to_owned(), template);
        if server.template.tells_date() {
            settings.insert("date".to_owned(), options.date.to_string());
        }
        let identity = introduction.identity(settings, "server");
        return Ok((Protocol::LlamaServer(Box::new(server)), identity));
    }
    settings.insert("api".to_owned(), "openai".to_owned());
    if let Some((source, bos, eos)) = introduction.template() {
        let digest = Digest::of(&("chat-template", source, bos, eos));
        settings.insert("chat_template".to_owned(), digest.to_string());
    }
    if !options.kwargs.is_empty() {
        let kwargs = Value::Object(options.kwargs.clone()).to_string();
        settings.insert("chat_template_kwargs".to_owned(), kwargs);
    }
    let identity = introduction.identity(settings, "server");
    let protocol = Protocol::OpenAi(OpenAi {
        client: Arc::clone(client),
        model: introduction.model.clone(),
        kind: introduction.kind,
        kwargs: options.kwargs.clone(),
        context: identity.context_length,
    });
    Ok((protocol, identity))
}

/// Makes ready for llama-server's own protocol.
fn llama_server(
    client: &Arc<Client>,
    introduction: &Introduction,
    options: &HttpOptions,
) -> Result<LlamaServer, BackendError> {
    let load = |text: String| BackendError::Load(format!("{}: {text}", client.address()));
    let (Some((source, bos, eos)), Some(context)) =
        (introduction.template(), introduction.context())
    else {
        return Err(load(
            "the server is no llama-server, or an old one: its /props name no chat template and no \
             context"
                .to_owned(),
        ));
    };
    let noon = options.date.at(12, 0, 0, 0);
    let template = ChatTemplate::at("server", source, bos, eos, options.kwargs.clone(), noon)
        .map_err(|error| load(error.to_string()))?;
    let tokens = Tokens::connect(Arc::clone(client)).map_err(|error| load(error.to_string()))?;
    Ok(LlamaServer {
        client: Arc::clone(client),
        model: introduction.model.clone(),
        template,
        tokens,
        context,
    })
}

/// Answers requests until nobody can send any more.
fn serve(protocol: &Protocol, inbox: &Receiver<Job>, stop: &Stop) {
    for Job { request, reply } in inbox {
        if stop.is_set() {
            return;
        }
        // A panic would otherwise cost the run a thread, and then stop it.
        let answer = catch_unwind(AssertUnwindSafe(|| protocol.answer(&request)));
        reply.send(answer.unwrap_or_else(|_| {
            Err(BackendError::Inference(
                "reading the server's answer failed".to_owned(),
            ))
        }));
    }
}

impl Protocol {
    fn answer(&self, request: &Request) -> Result<Reply, BackendError> {
        match (self, request) {
            (Protocol::OpenAi(api), Request::Generate(request)) => {
                api.generate(request).map(Reply::Generated)
            }
            (Protocol::LlamaServer(api), Request::Generate(request)) => {
                api.generate(request).map(Reply::Generated)
            }
            (_, Request::Choose(request))
                if request.options.len() < 2 || request.options.iter().any(String::is_empty) =>
            {
                Err(BackendError::Inference(
                    "a choice needs two options or more, none of them empty".to_owned(),
                ))
            }
            (Protocol::OpenAi(api), Request::Choose(request)) => {
                api.choose(request).map(Reply::Chosen)
            }
            (Protocol::LlamaServer(api), Request::Choose(request)) => {
                api.choose(request).map(Reply::Chosen)
            }
        }
    }
}

impl Backend for HttpBackend {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn parallelism(&self) -> usize {
        self.parallel
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<u32, BackendError> {
        match self.protocol.as_ref() {
            Protocol::LlamaServer(api) => api.count_tokens(messages),
            Protocol::OpenAi(api) => Ok(api
                .count_tokens(messages)
                .unwrap_or_else(|| estimate(messages))),
        }
    }

    fn counts_exactly(&self) -> bool {
        match self.protocol.as_ref() {
            Protocol::LlamaServer(_) => true,
            Protocol::OpenAi(api) => api.kind != Kind::Other,
        }
    }

    fn submit(&self, ticket: Ticket, request: Request, reply: Sender<TicketReply>) {
        let reply = ReplyTo::new(ticket, reply);
        if let Some(jobs) = &self.jobs {
            // Threads that are gone drop the job, and its reply says so.
            let _ = jobs.send(Job { request, reply });
        }
    }
}

impl Drop for HttpBackend {
    fn drop(&mut self) {
        // The threads end by themselves: one that waits for a slow server is not waited for.
        self.stop.set();
        self.jobs = None;
        // Each says that the backend stopped.
        self.waiting.try_iter().for_each(drop);
    }
}

/// About how many tokens a conversation has.
fn estimate(messages: &[Message]) -> u32 {
    let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
    let tokens = bytes / BYTES_PER_TOKEN + messages.len() * TOKENS_PER_MESSAGE;
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

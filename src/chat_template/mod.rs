//! The model's own chat template, rendered to trusted and untrusted spans.
//!
//! Templates are Jinja2 as Python's transformers configures it; they are rendered with minijinja made
//! to behave the same ([`environment`]). A rendered conversation is one text, but its parts differ in
//! standing: what the template wrote may hold special tokens, what a message said may not. [`provenance`]
//! tells the two apart without understanding the template.

mod builtin;
mod environment;
mod provenance;
mod python;

use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind};
use regex::Regex;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::digest::Digest;
use crate::generation::{Message, Role, THINK_TAGS};

/// The name under which the environment holds the one template.
const ENTRY: &str = "chat";

/// A piece of a rendered conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The text; never changed by being split off.
    pub text: String,
    /// True when it comes from the template, false when it comes from a message. White space at either
    /// end of a message counts as the template's, because templates trim it.
    pub trusted: bool,
}

impl Span {
    /// The spans without empty ones, neighbours of one kind joined.
    pub fn joined(spans: &[Self]) -> Vec<Self> {
        let mut joined: Vec<Self> = Vec::new();
        for span in spans.iter().filter(|span| !span.text.is_empty()) {
            match joined.last_mut() {
                Some(last) if last.trusted == span.trusted => last.text.push_str(&span.text),
                _ => joined.push(span.clone()),
            }
        }
        joined
    }
}

/// Why a chat template cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ChatTemplateError {
    /// The template does not compile.
    #[error("chat template `{name}`, line {line}: {message}")]
    Syntax {
        /// Name of the template.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The template refused the messages with `raise_exception`.
    #[error("the chat template refuses these messages: {0}")]
    Raised(String),
    /// The template refuses system messages, and takes the conversation without them.
    #[error(
        "the chat template `{name}` takes no system message ({message}); move its text into the first \
         user message, or choose another template with --chat-template"
    )]
    SystemRefused {
        /// Name of the template.
        name: String,
        /// What it raised.
        message: String,
    },
    /// Rendering failed.
    #[error("chat template `{name}`, line {line}: {message}")]
    Render {
        /// Name of the template.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// What comes from the template and what from a message cannot be told apart.
    #[error(
        "the chat template `{name}` rewrites messages in a way that cannot be followed, and a message \
         may hold the text of special tokens; choose another template with --chat-template"
    )]
    Ambiguous {
        /// Name of the template.
        name: String,
    },
}

/// A compiled chat template with its arguments. Cloning is cheap.
#[derive(Clone)]
pub struct ChatTemplate {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    digest: Digest,
    environment: Environment<'static>,
    variables: Map<String, Value>,
    /// Everything a rendering may take text from besides the messages.
    own_text: String,
    /// The string literals of the source, which is what a template may look for in a message.
    literals: Vec<String>,
    tells_date: bool,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("name", &self.inner.name)
            .field("digest", &self.inner.digest)
            .finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Compiles `source`. `bos` and `eos` become `bos_token` and `eos_token`; `kwargs` are further
    /// variables and win over them. A source that is a JSON list of named templates, or a tokenizer
    /// configuration with a `chat_template`, stands for its default template.
    pub fn new(
        name: &str,
        source: &str,
        bos: &str,
        eos: &str,
        kwargs: Map<String, Value>,
    ) -> Result<Self, ChatTemplateError> {
        Self::at(
            name,
            source,
            bos,
            eos,
            kwargs,
            jiff::Zoned::now().datetime(),
        )
    }

    /// As [`new`](Self::new), with the time that `strftime_now` tells. The time is no part of the digest.
    pub fn at(
        name: &str,
        source: &str,
        bos: &str,
        eos: &str,
        kwargs: Map<String, Value>,
        now: jiff::civil::DateTime,
    ) -> Result<Self, ChatTemplateError> {
        let chosen = default_source(source);
        let source = chosen.as_deref().unwrap_or(source);
        let digest = Digest::of(&("chat-template", source, bos, eos, &kwargs));
        let mut variables = Map::new();
        // What transformers passes when a caller gives neither.
        variables.insert("tools".into(), Value::Null);
        variables.insert("documents".into(), Value::Null);
        variables.insert("bos_token".into(), bos.into());
        variables.insert("eos_token".into(), eos.into());
        variables.extend(kwargs);

        let prepared = prepare(source);
        let mut environment = environment::python_like(now);
        environment
            .add_template_owned(ENTRY, prepared.clone())
            .map_err(|error| ChatTemplateError::Syntax {
                name: name.to_owned(),
                line: error.line().unwrap_or(1),
                message: message_of(&error),
            })?;
        let literals = string_literals(&prepared);
        let own_text = format!("{prepared}{}", Value::Object(variables.clone()));
        Ok(Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                digest,
                environment,
                variables,
                own_text,
                literals,
                tells_date: prepared.contains("strftime_now"),
            }),
        })
    }

    /// The source of a template that comes with this program.
    pub fn builtin(name: &str) -> Option<&'static str> {
        builtin::source(name)
    }

    /// The names that [`builtin`](Self::builtin) knows.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        builtin::names()
    }

    /// Whether what it renders depends on the date.
    pub fn tells_date(&self) -> bool {
        self.inner.tells_date
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The digest of source, arguments and special tokens.
    pub fn digest(&self) -> Digest {
        self.inner.digest.clone()
    }

    /// Renders to spans; concatenated they are what [`render_text`](Self::render_text) gives.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<Span>, ChatTemplateError> {
        let reference = self.render_text(messages, add_generation_prompt)?;
        let source = provenance::Source {
            render: &|messages| self.once(messages, add_generation_prompt).ok(),
            own_text: &self.inner.own_text,
            literals: &self.inner.literals,
        };
        provenance::trace(&source, messages, &reference).ok_or_else(|| {
            ChatTemplateError::Ambiguous {
                name: self.inner.name.clone(),
            }
        })
    }

    /// Renders a conversation that a reply follows, and tells the closing tag of the think block that it
    /// ends in. With `close`, such a block is closed at once: what follows is no thought.
    pub fn render_for_reply(
        &self,
        messages: &[Message],
        close: bool,
    ) -> Result<(Vec<Span>, Option<&'static str>), ChatTemplateError> {
        let mut spans = self.render(messages, true)?;
        let mut thinking = self.opens_thinking(&spans);
        if let Some(tag) = thinking.filter(|_| close) {
            spans.push(Span {
                text: format!("{tag}\n\n"),
                trusted: true,
            });
            thinking = None;
        }
        Ok((spans, thinking))
    }

    /// Renders to text, as Python's jinja2 would.
    pub fn render_text(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, ChatTemplateError> {
        self.once(messages, add_generation_prompt)
            .map_err(|error| self.explain(&error, messages, add_generation_prompt))
    }

    /// The closing tag of the think block that the template opened at the end of the rendered
    /// conversation, so that a reply begins with thoughts; `None` where it opened none.
    pub fn opens_thinking(&self, spans: &[Span]) -> Option<&'static str> {
        let text = spans.last().filter(|span| span.trusted)?.text.trim_end();
        THINK_TAGS
            .iter()
            .find(|(open, _)| text.ends_with(open))
            .map(|(_, close)| *close)
    }

    fn once(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        let context = minijinja::context! {
            messages => minijinja::Value::from(Serde(messages)),
            add_generation_prompt => add_generation_prompt,
            ..minijinja::Value::from(Serde(&self.inner.variables))
        };
        let template = self.inner.environment.get_template(ENTRY)?;
        environment::with_deep_stack(|| template.render(&context))
    }

    fn explain(
        &self,
        error: &Error,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> ChatTemplateError {
        let name = self.inner.name.clone();
        let Some(message) = environment::raised(error) else {
            return ChatTemplateError::Render {
                name,
                line: error.line().unwrap_or(1),
                message: message_of(error),
            };
        };
        let others: Vec<Message> = messages
            .iter()
            .filter(|message| message.role != Role::System)
            .cloned()
            .collect();
        let system_is_at_fault = others.len() < messages.len()
            && !others.is_empty()
            && self.once(&others, add_generation_prompt).is_ok();
        if system_is_at_fault {
            ChatTemplateError::SystemRefused { name, message }
        } else {
            ChatTemplateError::Raised(message)
        }
    }
}

/// What went wrong, without the name of the entry, which means nothing to a reader.
fn message_of(error: &Error) -> String {
    let mut message = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    if error.kind() == ErrorKind::OutOfFuel {
        message.push_str(" (the template loops without end, or builds too much text)");
    }
    if let Some(source) = error.source() {
        message.push_str(&format!(": {source}"));
    }
    message
}

/// The default template, where a source is a JSON list of named templates, a JSON object from names to
/// templates, or a tokenizer configuration that holds one of these.
fn default_source(source: &str) -> Option<String> {
    if !source.trim_start().starts_with(['[', '{']) {
        return None;
    }
    let value: Value = serde_json::from_str(source).ok()?;
    pick_default(&value)
}

fn pick_default(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let named = |name: &str| {
                items
                    .iter()
                    .find(|item| item.get("name").and_then(Value::as_str) == Some(name))
            };
            let item = named("default").or_else(|| items.first())?;
            item.get("template")?.as_str().map(str::to_owned)
        }
        Value::Object(map) => map
            .get("chat_template")
            .or_else(|| map.get("default"))
            .and_then(pick_default),
        _ => None,
    }
}

/// The source as minijinja is to see it: newlines normalised as jinja2 does, and the tags that mark
/// generated text, which minijinja lacks, replaced by tags of the same scope and white space control.
fn prepare(source: &str) -> String {
    static GENERATION: LazyLock<Regex> = LazyLock::new(|| {
        // A constant pattern; a test compiles it.
        Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("valid pattern")
    });
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    GENERATION
        .replace_all(&source, "{%$1 ${2}with $3%}")
        .into_owned()
}

/// The string literals inside the tags of a template. It may find too many, which costs time only.
fn string_literals(source: &str) -> Vec<String> {
    static TAGS: LazyLock<Regex> =
        // A constant pattern; a test compiles it.
        LazyLock::new(|| Regex::new(r"(?s)\{[{%].*?[%}]\}").expect("valid pattern"));
    static LITERALS: LazyLock<Regex> = LazyLock::new(|| {
        // A constant pattern; a test compiles it.
        Regex::new(r#"(?s)'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)""#).expect("valid pattern")
    });
    let mut literals = Vec::new();
    for tag in TAGS.find_iter(source) {
        for found in LITERALS.captures_iter(tag.as_str()) {
            let raw = found.get(1).or_else(|| found.get(2));
            let text = python::unescape(raw.map_or("", |raw| raw.as_str()));
            if !text.is_empty() && !literals.contains(&text) {
                literals.push(text);
            }
        }
    }
    literals
}

#[cfg(test)]
mod tests;

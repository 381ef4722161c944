//! `amend render`: exactly what a model would see.

mod pack;

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::exit::{say, usage};
use super::model::{resolve_with_bar, tokenizer};
use super::{Exit, stdout};
use crate::backend::llama::model_ref::ModelRef;
use crate::backend::llama::tokenizer::{Token, Tokenizer};
use crate::chain::StepKind;
use crate::chat_template::{ChatTemplate, Span};
use crate::generation::{Message, Role};
use crate::template::JudgeStep;

/// The template of models that bring none.
const FALLBACK: &str = "chatml";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("input").required(true).multiple(true).args(["messages", "pack"]))]
#[command(after_help = "\
Examples:
  amend render --messages chat.json -m default
  amend render --messages chat.json --chat-template-file template.jinja --bos '<s>'
  amend render --messages chat.json -m default --tokens
  amend render --pack default --step critique --set response='No.' -c hhh --principle concrete-steps")]
pub struct Args {
    /// A JSON file with a list of {role, content}; - for stdin. With --pack, the conversation
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    /// A model whose template and tokens to use [default: default, unless a template is given]
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// A template that comes with this program
    #[arg(long, value_name = "NAME", conflicts_with = "chat_template_file")]
    chat_template: Option<String>,
    /// A file with a template
    #[arg(long, value_name = "FILE")]
    chat_template_file: Option<PathBuf>,
    /// Further variables of the template, as a JSON object
    #[arg(long, value_name = "JSON")]
    chat_template_kwargs: Option<String>,
    /// What a template that tells the date takes for today [default: today]
    #[arg(long, value_name = "YYYY-MM-DD")]
    chat_template_date: Option<jiff::civil::Date>,
    /// End after the last message, without opening a reply
    #[arg(long)]
    no_generation_prompt: bool,
    /// The text of `bos_token` [default: the model's]
    #[arg(long, value_name = "TEXT")]
    bos: Option<String>,
    /// The text of `eos_token` [default: the model's]
    #[arg(long, value_name = "TEXT")]
    eos: Option<String>,
    /// One line a token: its id, whether template or message wrote it, its text
    #[arg(long)]
    tokens: bool,
    /// JSON lines
    #[arg(long)]
    json: bool,
    /// Print the messages that a pack makes: its name or its folder
    #[arg(long, value_name = "PACK", requires = "step")]
    pack: Option<String>,
    /// The step to make messages for: draft, critique, revision or recheck; for a judge judge, reason or conclude
    #[arg(long, value_name = "STEP", requires = "pack", value_parser = parse_step)]
    step: Option<pack::Step>,
    /// A variable of the pack, such as response='No.'; others stand as their names in brackets
    #[arg(long, value_name = "NAME=TEXT", requires = "pack", value_parser = parse_setting)]
    set: Vec<(String, String)>,
    /// The constitution of --principle
    #[arg(short, long, value_name = "FILE", requires = "principle")]
    constitution: Option<String>,
    /// The principle that the step is about
    #[arg(long, value_name = "ID", requires = "constitution")]
    principle: Option<String>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let conversation = args.messages.as_ref().map(read_messages).transpose()?;
    let messages = match &args.pack {
        Some(pack) => {
            let messages = pack::messages(pack, &args, conversation)?;
            if !args.wants_text() {
                pack::print(&messages, args.json)?;
                return Ok(Exit::Done);
            }
            messages
        }
        // The argument group lets one of the two be there.
        None => conversation.unwrap_or_default(),
    };
    let tokenizer = args.tokenizer()?;
    let template = args.template(tokenizer.as_ref())?;
    let spans = template
        .render(&messages, !args.no_generation_prompt)
        .map_err(usage)?;
    let mut out = io::BufWriter::new(stdout::raw());
    match tokenizer {
        Some(tokenizer) if args.tokens => {
            for token in tokenizer.encode(&spans) {
                writeln!(out, "{}", token_line(&tokenizer, token, args.json))?;
            }
        }
        _ if args.json => writeln!(out, "{}", text_line(&spans))?,
        _ => {
            for span in &spans {
                out.write_all(span.text.as_bytes())?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

impl Args {
    /// Whether a chat template is to be applied: always to a file of messages, and to those of a pack
    /// when a template or a model is named.
    fn wants_text(&self) -> bool {
        self.tokens
            || self.model.is_some()
            || self.chat_template.is_some()
            || self.chat_template_file.is_some()
    }

    fn tokenizer(&self) -> anyhow::Result<Option<Tokenizer>> {
        let brings_template = self.chat_template.is_some() || self.chat_template_file.is_some();
        let reference = match &self.model {
            Some(model) => model,
            None if !brings_template => "default",
            None if self.tokens => bail!(usage(anyhow!(
                "--tokens needs a model whose tokens to use: add -m MODEL"
            ))),
            None => return Ok(None),
        };
        let path = model_file(reference)?;
        tokenizer(&path).map(Some)
    }

    fn template(&self, tokenizer: Option<&Tokenizer>) -> anyhow::Result<ChatTemplate> {
        let (name, source) = self.template_source(tokenizer)?;
        let special = |given: &Option<String>, own: fn(&Tokenizer) -> String| {
            given
                .clone()
                .or_else(|| tokenizer.map(own))
                .unwrap_or_default()
        };
        let bos = special(&self.bos, Tokenizer::bos_text);
        let eos = special(&self.eos, Tokenizer::eos_text);
        // A run takes noon for the time, so that its templates tell nothing but the date.
        let today = self.chat_template_date;
        let noon = today
            .unwrap_or_else(|| jiff::Zoned::now().date())
            .at(12, 0, 0, 0);
        ChatTemplate::at(&name, &source, &bos, &eos, self.kwargs()?, noon).map_err(usage)
    }

    fn template_source(&self, tokenizer: Option<&Tokenizer>) -> anyhow::Result<(String, String)> {
        if let Some(path) = &self.chat_template_file {
            return Ok((path.display().to_string(), read_text(path)?));
        }
        if let Some(name) = &self.chat_template {
            let source = ChatTemplate::builtin(name).ok_or_else(|| {
                let names: Vec<_> = ChatTemplate::builtin_names().collect();
                usage(anyhow!(
                    "no chat template `{name}`; there are {}",
                    names.join(", ")
                ))
            })?;
            return Ok((name.clone(), source.to_owned()));
        }
        if let Some(source) = tokenizer.and_then(Tokenizer::chat_template) {
            return Ok(("of the model".to_owned(), source));
        }
        say(&format!(
            "note: the model file has no chat template; using `{FALLBACK}` (choose with --chat-template)"
        ));
        let source = ChatTemplate::builtin(FALLBACK).unwrap_or_default();
        Ok((FALLBACK.to_owned(), source.to_owned()))
    }

    fn kwargs(&self) -> anyhow::Result<Map<String, Value>> {
        let Some(text) = &self.chat_template_kwargs else {
            return Ok(Map::new());
        };
        serde_json::from_str(text)
            .context("--chat-template-kwargs is not a JSON object")
            .map_err(usage)
    }
}

/// The file that a model reference names.
fn model_file(reference: &str) -> anyhow::Result<PathBuf> {
    resolve_with_bar(&ModelRef::parse(reference).map_err(usage)?, false)
}

/// A message as it is written in a file: nothing besides role and content, as nothing else would be
/// rendered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with role and content")]
struct Written {
    role: Role,
    content: String,
}

#[derive(Deserialize)]
struct Row {
    messages: Vec<Written>,
}

fn read_messages(path: &PathBuf) -> anyhow::Result<Vec<Message>> {
    let text = read_text(path)?;
    let row = text.trim_start().starts_with('{');
    let parsed = match row {
        true => serde_json::from_str::<Row>(&text).map(|row| row.messages),
        false => serde_json::from_str(&text),
    };
    let written: Vec<Written> = parsed.map_err(|error| {
        let full = error.to_string();
        let what = full.rsplit_once(" at line ").map_or(full.as_str(), |(what, _)| what);
        usage(anyhow!(
            "{}, line {}: {what}; a file of messages is a JSON list of {{\"role\": …, \"content\": …}}",
            path.display(),
            error.line()
        ))
    })?;
    Ok(written
        .into_iter()
        .map(|message| Message::new(message.role, message.content))
        .collect())
}

fn read_text(path: &PathBuf) -> anyhow::Result<String> {
    let bytes = match path.to_str() {
        Some("-") => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        }
        _ => fs::read(path),
    };
    let bytes = bytes
        .with_context(|| path.display().to_string())
        .map_err(usage)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        usage(anyhow!("{}, line {line}: not valid UTF-8", path.display()))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn source(trusted: bool) -> &'static str {
    if trusted { "template" } else { "message" }
}

fn text_line(spans: &[Span]) -> Value {
    let text: String = spans.iter().map(|span| span.text.as_str()).collect();
    let spans: Vec<_> = spans
        .iter()
        .map(|span| json!({"source": source(span.trusted), "text": span.text}))
        .collect();
    json!({"text": text, "spans": spans})
}

fn token_line(tokenizer: &Tokenizer, token: Token, json: bool) -> String {
    let bytes = tokenizer.piece(token.id, true);
    // A token may be a part of a character; then its bytes are spelled out.
    let piece = String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        bytes.iter().map(|byte| format!("<0x{byte:02X}>")).collect()
    });
    let source = source(token.trusted);
    match json {
        true => json!({"id": token.id, "source": source, "piece": piece}).to_string(),
        false => format!("{}\t{source}\t{}", token.id, Value::String(piece)),
    }
}

fn parse_step(text: &str) -> Result<pack::Step, String> {
    let chain = [
        StepKind::Draft,
        StepKind::Critique,
        StepKind::Revision,
        StepKind::Recheck,
    ]
    .into_iter()
    .find(|step| step.as_str() == text);
    let judge = JudgeStep::ALL
        .into_iter()
        .find(|step| step.as_str() == text);
    chain
        .map(pack::Step::Chain)
        .or(judge.map(pack::Step::Judge))
        .ok_or_else(|| {
            "a step is draft, critique, revision or recheck, or judge, reason or conclude"
                .to_owned()
        })
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| "write NAME=TEXT".to_owned())
}

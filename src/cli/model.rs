//! `amend model`: what a model file is, fetching one, and what the caches hold.

mod display;

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::HumanBytes;
use serde::Serialize;

use super::exit::{say, usage};
use super::{Exit, stdout};
use crate::backend::llama::gguf::{self, GgufError, GgufInfo};
use crate::backend::llama::model_ref::{self, CachedModel, HubConfig, ModelRef, ResolveOptions};
use crate::backend::llama::tokenizer::Tokenizer;
use crate::digest::Digest;
use display::Display;

const REFERENCE: &str = "A path, `default`, hf:owner/repo[:QUANT] or hf:owner/repo/file.gguf";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  amend model info\n  amend model info models/my-model.gguf --json\n  amend model fetch hf:owner/repo-GGUF:Q4_K_M\n  amend model list"
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what a model is: architecture, size, quantisation, context, chat template, digest
    Info(InfoArgs),
    /// Bring a model into the Hub's cache, or look for a newer one
    Fetch(FetchArgs),
    /// List the models in the caches
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend model info
  amend model info models/my-model.gguf --json
  amend model info hf:owner/repo-GGUF:Q4_K_M --offline")]
struct InfoArgs {
    #[arg(help = REFERENCE, default_value = "default", value_name = "REF")]
    reference: String,
    /// The same as hf:owner/repo[:QUANT]
    #[arg(long, value_name = "OWNER/REPO[:QUANT]", conflicts_with = "reference")]
    hf_repo: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Use only what is on this machine
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend model fetch hf:owner/repo-GGUF:Q4_K_M
  amend model fetch hf:owner/repo-GGUF/model-Q8_0.gguf")]
struct FetchArgs {
    #[arg(help = REFERENCE, value_name = "REF", required_unless_present = "hf_repo")]
    reference: Option<String>,
    /// The same as hf:owner/repo[:QUANT]
    #[arg(long, value_name = "OWNER/REPO[:QUANT]", conflicts_with = "reference")]
    hf_repo: Option<String>,
    /// Only say whether it is in the cache
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend model list
  amend model list --json")]
struct ListArgs {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::Info(args) => info(args),
        Command::Fetch(args) => fetch(args),
        Command::List(args) => list(args),
    }
}

/// Reads a model reference as `--model` and `--hf-repo` give it; `default` when neither is given.
///
/// # Errors
/// One of usage, when the text is not a reference.
pub fn reference(model: Option<&str>, hf_repo: Option<&str>) -> anyhow::Result<ModelRef> {
    match (model, hf_repo) {
        (_, Some(repo)) => ModelRef::from_hf_repo(repo),
        (Some(model), None) => ModelRef::parse(model),
        (None, None) => Ok(ModelRef::Default),
    }
    .map_err(usage)
}

/// Finds the file of a model, fetching it with a progress bar on stderr where necessary.
///
/// # Errors
/// One of usage for what the person has to change (a wrong name, a missing file), a plain one when
/// network, server or disk failed.
pub fn resolve_with_bar(reference: &ModelRef, offline: bool) -> anyhow::Result<PathBuf> {
    resolve(reference, offline, false)
}

fn resolve(reference: &ModelRef, offline: bool, refresh: bool) -> anyhow::Result<PathBuf> {
    let mut display = Display::default();
    let mut show = |progress| display.show(progress);
    let mut options = ResolveOptions::from_env(offline, &mut show);
    options.refresh = refresh;
    let resolved = model_ref::resolve(reference, &mut options);
    display.clear();
    resolved.map_err(|error| {
        if error.is_input() {
            usage(error)
        } else {
            error.into()
        }
    })
}

/// The vocabulary of a model file; one without weights will do.
///
/// # Errors
/// One of usage, when the file is none that holds a vocabulary.
pub fn tokenizer(path: &Path) -> anyhow::Result<Tokenizer> {
    match gguf::inspect(path) {
        Ok(_) | Err(GgufError::NotGenerative { .. }) => Tokenizer::open(path).map_err(usage),
        // It says more than llama.cpp does, which is not given what is damaged.
        Err(error) => Err(usage(error)),
    }
}

/// The name of a model's chat template, guessed by its markers.
#[derive(Debug, Serialize)]
struct TemplateInfo {
    name: &'static str,
    digest: Digest,
}

/// What `amend model info --json` prints.
#[derive(Debug, Serialize)]
struct InfoOutput<'a> {
    reference: String,
    path: &'a Path,
    #[serde(flatten)]
    info: &'a GgufInfo,
    chat_template: Option<TemplateInfo>,
    digest: Digest,
}

fn info(args: InfoArgs) -> anyhow::Result<Exit> {
    let reference = reference(Some(&args.reference), args.hf_repo.as_deref())?;
    let path = resolve_with_bar(&reference, args.offline)?;
    let info = gguf::inspect(&path).map_err(usage)?;
    let template = info.chat_template.as_deref();
    let output = InfoOutput {
        reference: reference.to_string(),
        path: &path,
        chat_template: template
            .zip(info.chat_template_digest())
            .map(|(text, digest)| TemplateInfo {
                name: gguf::template_family(text),
                digest,
            }),
        info: &info,
        digest: gguf::digest(&path).map_err(usage)?,
    };
    let text = if args.json {
        serde_json::to_string(&output)? + "\n"
    } else {
        table(&output)
    };
    print(&text)
}

fn table(output: &InfoOutput<'_>) -> String {
    let info = output.info;
    let number = |n: Option<u64>| n.map_or_else(|| "not stated".to_owned(), |n| n.to_string());
    let template = output.chat_template.as_ref().map_or_else(
        || "none in the file".to_owned(),
        |template| format!("{} ({})", template.name, template.digest.as_str()),
    );
    let heads = format!(
        "{} ({} for keys and values)",
        number(info.heads),
        number(info.kv_heads)
    );
    let parts = info.parts.len();
    let mut rows = vec![
        ("path", output.path.display().to_string()),
        ("name", plain(&info.name)),
        ("architecture", plain(&info.architecture)),
        (
            "parameters",
            format!("{} ({})", info.parameters, short_count(info.parameters)),
        ),
        ("quantisation", info.quantisation.clone()),
        ("training context", number(info.training_context)),
        ("layers", number(info.layers)),
        ("embedding length", number(info.embedding_length)),
        ("attention heads", heads),
        ("vocabulary", number(info.vocabulary)),
        (
            "tokenizer",
            info.tokenizer
                .as_deref()
                .map_or_else(|| "not stated".to_owned(), plain),
        ),
        ("chat template", template),
        (
            "file size",
            format!("{} ({})", info.file_size, HumanBytes(info.file_size)),
        ),
        ("digest", output.digest.to_string()),
    ];
    if parts > 1 {
        rows.insert(1, ("parts", parts.to_string()));
    }
    let mut text = String::new();
    for (name, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<17} {value}");
    }
    text
}

/// Text from a model file, with control characters made visible.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn short_count(count: u64) -> String {
    let count = count as f64;
    for (unit, letter) in [(1e12, 'T'), (1e9, 'B'), (1e6, 'M'), (1e3, 'k')] {
        if count >= unit {
            return format!("{:.1}{letter}", count / unit);
        }
    }
    format!("{count}")
}

fn fetch(args: FetchArgs) -> anyhow::Result<Exit> {
    let reference = reference(args.reference.as_deref(), args.hf_repo.as_deref())?;
    let path = resolve(&reference, args.offline, true)?;
    // Said now rather than when a run is started.
    gguf::inspect(&path).map_err(usage)?;
    print(&format!("{}\n", path.display()))
}

#[derive(Serialize)]
struct ListOutput<'a> {
    reference: &'a str,
    path: &'a Path,
    size: u64,
}

fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let hub = HubConfig::from_env();
    let own = model_ref::cache_dir();
    let mut models = Vec::new();
    let mut ignore = |_| {};
    let mut options = ResolveOptions::from_env(true, &mut ignore);
    if let Ok(path) = model_ref::resolve(&ModelRef::Default, &mut options) {
        models.push(CachedModel {
            reference: ModelRef::Default.to_string(),
            size: model_ref::DEFAULT_SIZE,
            path,
        });
    }
    models.extend(model_ref::cached_models(&hub.cache));
    let mut text = String::new();
    let width = models.iter().map(|m| m.reference.len()).max().unwrap_or(0);
    for model in &models {
        if args.json {
            text += &serde_json::to_string(&ListOutput {
                reference: &model.reference,
                path: &model.path,
                size: model.size,
            })?;
            text.push('\n');
        } else {
            let size = HumanBytes(model.size).to_string();
            let path = model.path.display();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:<width$}  {size:>10}  {path}", model.reference);
        }
    }
    if models.is_empty() {
        let own = own.map_or_else(String::new, |own| format!(" or {}", own.display()));
        say(&format!(
            "no models in {}{own}; `make model` gets the default one, `amend model fetch` others",
            hub.cache.display()
        ));
    }
    print(&text)
}

fn print(text: &str) -> anyhow::Result<Exit> {
    let mut out = stdout::raw();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short_and_text_is_tame() {
        assert_eq!(short_count(134_515_008), "134.5M");
        assert_eq!(short_count(8_030_261_312), "8.0B");
        assert_eq!(short_count(999), "999");
        assert_eq!(plain("a\u{1b}[31mé\n"), "a\\u{1b}[31mé\\n");
    }

    #[test]
    fn references_come_from_either_option() {
        assert_eq!(reference(None, None).unwrap(), ModelRef::Default);
        assert_eq!(
            reference(None, Some("o/r:Q4_0")).unwrap(),
            reference(Some("hf:o/r:Q4_0"), None).unwrap()
        );
        let error = reference(Some("hf:nothing"), None).unwrap_err();
        assert!(
            error
                .downcast_ref::<crate::cli::exit::UsageError>()
                .is_some()
        );
    }
}

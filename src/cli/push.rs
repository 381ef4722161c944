//! `amend push`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};

use super::exit::{say, usage};
use super::text::plural;
use super::{Exit, stdout};
use crate::backend::llama::model_ref::HubConfig;
use crate::publish::{self, Event, Hub, PushError, Target};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend push hf:someone/harmless-pairs --from out/hub --private
  amend push hf:someone/harmless-pairs@next --from out/hub

HF_TOKEN (or the token file of the Hub's own program) must hold a token that may write there; HF_ENDPOINT
names another Hub. The repository is made where there is none. Everything goes in with one commit; where it
fails, nothing is visible, and the same command goes on with what was not uploaded yet.")]
pub struct Args {
    /// Where to: hf:OWNER/NAME, or hf:OWNER/NAME@BRANCH
    #[arg(value_name = "TARGET", value_parser = Target::parse)]
    target: Target,
    /// The folder that `amend export` wrote
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Make the repository private, where it is made
    #[arg(long)]
    private: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let hub = hub()?;
    let mut events = |event: Event<'_>| match event {
        Event::Repository { made: true } => say(&format!("made the repository {}", args.target)),
        Event::Repository { made: false } => {}
        Event::Uploading { name, bytes } => say(&format!("uploading {name} ({bytes} bytes)")),
        Event::Present { name } => say(&format!("{name} is there already")),
        Event::Ignored { name } => say(&format!(
            "{name} is left out, as the repository's .gitignore wants it"
        )),
        Event::Retry { why } => say(&format!("trying again: {why}")),
    };
    let pushed = publish::push(&args.from, &args.target, args.private, &hub, &mut events).map_err(
        |error| match error {
            PushError::Folder { .. } => usage(error),
            error => error.into(),
        },
    )?;
    let mut out = stdout::as_asked(args.json);
    let printed = if args.json {
        writeln!(out, "{}", serde_json::to_string(&pushed)?)
    } else {
        let deleted = match pushed.deleted {
            0 => String::new(),
            deleted => format!(", {deleted} of an earlier push deleted"),
        };
        let (files, bytes) = (plural(pushed.files, "file"), pushed.bytes);
        writeln!(out, "{files}, {bytes} bytes{deleted}: {}", pushed.url)
            .and_then(|()| writeln!(out, "{}", pushed.commit_url))
    };
    stdout::or_closed(printed).with_context(|| format!("the dataset is at {}", pushed.url))?;
    Ok(Exit::Done)
}

fn hub() -> anyhow::Result<Hub> {
    let config = HubConfig::from_env();
    if config.offline {
        return Err(usage(anyhow!("HF_HUB_OFFLINE is set; unset it to push")));
    }
    let address = config.endpoint.starts_with("http://") || config.endpoint.starts_with("https://");
    if !address {
        return Err(usage(anyhow!(
            "HF_ENDPOINT is `{}`, which is no http:// or https:// address",
            config.endpoint.escape_debug()
        )));
    }
    let token = config.token.ok_or_else(|| {
        usage(anyhow!(
            "there is no access token; set HF_TOKEN to one that may write"
        ))
    })?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(usage(anyhow!(
            "the Hub token (HF_TOKEN or the token file) holds characters that no token has"
        )));
    }
    Ok(Hub {
        endpoint: config.endpoint,
        token,
        attempts: config.attempts,
        backoff: config.backoff,
    })
}

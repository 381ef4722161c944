//! The model that is asked about refusals.

use clap::Parser;

use crate::cli::args::ModelArgs;
use crate::cli::backend::{self, Hints};
use crate::cli::exit::usage;
use crate::quality::gates::{Asked, ask_refusals};
use crate::store::{Filter, Store};

/// The options of a model, by themselves.
#[derive(Parser)]
struct Only {
    #[command(flatten)]
    model: ModelArgs,
}

/// Asks a model, or a server at an address, about the replies to benign prompts.
pub fn ask(
    store: &Store,
    filter: &Filter,
    run: Option<&str>,
    judge: &str,
) -> anyhow::Result<Asked> {
    let server = judge.starts_with("http://") || judge.starts_with("https://");
    let option = if server { "--endpoint" } else { "--model" };
    let only = Only::try_parse_from(["amend", option, judge]).map_err(usage)?;
    let loaded = backend::load(&only.model, false, Hints::default())?;
    Ok(ask_refusals(store, filter, run, loaded.backend())?)
}

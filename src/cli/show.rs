//! `amend show`: one chain, step by step, in the manner of `git show`.

mod page;

use std::io::Write;

use anyhow::Context;
use serde_json::json;

use super::{DbArg, Exit, exit};
use crate::store::{ChainDetail, RunDetail, Store, StoreError};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend show 7k2m            the chain whose id begins with 7k2m
  amend show 7k2m --step 2   only its third step
  amend show 7k2m --json     everything that is kept about it

Revisions are shown as a word diff against the response they revise: in colour on a terminal, with
[-removed-] and {+added+} elsewhere.")]
pub struct Args {
    /// The chain's id, or the beginning of it
    #[arg(value_name = "CHAIN")]
    chain: String,
    /// Show this step only, counted from 0
    #[arg(long, value_name = "N")]
    step: Option<u32>,
    /// Print one JSON object with everything that is kept about the chain
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    db: DbArg,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let store = Store::open_read(&args.db.db).map_err(exit::usage)?;
    let id = store.resolve_chain(&args.chain).map_err(unknown)?;
    let chain = store.chain(&id)?;
    let run = store.run(&chain.row.run_id)?;
    if let Some(step) = args.step {
        check_step(&chain, step).map_err(exit::usage)?;
    }
    let mut out = anstream::stdout().lock();
    if args.json {
        writeln!(out, "{}", as_json(&chain, &run, args.step)?)?;
    } else {
        let colour =
            anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
        out.write_all(page::render(&chain, &run, args.step, colour).as_bytes())?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// An id that names no chain, or several, is the person's mistake.
fn unknown(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Unknown { .. } | StoreError::Ambiguous { .. } => exit::usage(error),
        error => error.into(),
    }
}

fn check_step(chain: &ChainDetail, step: u32) -> anyhow::Result<()> {
    if chain.steps.iter().any(|s| s.ordinal == step) {
        return Ok(());
    }
    let id = &chain.row.chain_id;
    match chain.steps.last() {
        Some(last) => anyhow::bail!(
            "chain {id} has no step {step}; its steps are 0 to {}",
            last.ordinal
        ),
        None => anyhow::bail!("chain {id} has no step yet"),
    }
}

fn as_json(chain: &ChainDetail, run: &RunDetail, step: Option<u32>) -> anyhow::Result<String> {
    let steps: Vec<_> = chain
        .steps
        .iter()
        .filter(|s| step.is_none_or(|step| s.ordinal == step))
        .collect();
    serde_json::to_string(&json!({
        "chain": chain.row,
        "prompt_messages": chain.prompt_messages,
        "prompt_metadata": chain.prompt_metadata,
        "steps": steps,
        "run": run.row,
    }))
    .context("cannot write the chain as JSON")
}

//! `amend show`: chains, step by step, in the manner of `git show`.

mod columns;
mod gated;
mod page;
mod raw;

use std::io::Write;
use std::ops::ControlFlow;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use super::chains::{ChainsArgs, Chosen};
use super::exit::usage;
use super::pager::Pager;
use super::text::terminal_width;
use super::{Exit, runs};
use crate::chain::ChainId;
use crate::store::{ChainDetail, Depth, RunDetail, Store};

/// Columns where stdout is no terminal and `COLUMNS` does not say.
const WIDTH: usize = 120;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend show 7k2m                     the chain whose id begins with 7k2m
  amend show 7k2m --step 2            only its third step
  amend show 7k2m 9qxd                two chains side by side
  amend show --where 'regressed:true' all that match, one after the other
  amend show 7k2m --raw               the messages that the model saw, what it wrote, tokens
  amend show 7k2m --json              everything that is kept about it

Revisions are shown as a word diff against the response they revise: in colour on a terminal, with
[-removed-] and {+added+} elsewhere. Words that a critique quotes are marked, elsewhere with [*…*].
What is longer than the screen goes through $PAGER.")]
pub struct Args {
    /// A chain's id, or the beginning of it; two for side by side
    #[arg(value_name = "CHAIN", num_args = 0..=2)]
    ids: Vec<String>,
    /// Show this step only, counted from 0
    #[arg(long, value_name = "N")]
    step: Option<u32>,
    /// Print the messages of every request, everything that the model wrote, and the tokens of both
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Print one JSON object a line with everything that is kept about a chain
    #[arg(long)]
    json: bool,
    /// Never use a pager
    #[arg(long)]
    no_pager: bool,
    #[command(flatten)]
    chains: ChainsArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit> {
    let by_filter = args.chains.are_given();
    if by_filter != args.ids.is_empty() {
        bail!(usage(anyhow!(match by_filter {
            true => "name chains by their ids, or with --where and --run, not both",
            false => "name a chain by its id, or chains with --where; `amend ls` lists them",
        })));
    }
    let chosen = args.chains.open()?;
    let mut out = Pager::new(!args.no_pager && !args.json);
    let done = if by_filter {
        matching(&args, &chosen, &mut out)
    } else {
        named(&args, &chosen.store, &mut out)
    };
    match done {
        Ok(()) => out.finish()?,
        // Waits for the person to leave the pager, so that the message comes after it.
        Err(error) => {
            drop(out);
            return Err(error);
        }
    }
    Ok(Exit::Done)
}

/// The chains that were named by their ids.
fn named(args: &Args, store: &Store, out: &mut Pager) -> Result<()> {
    let mut found = Vec::new();
    for id in &args.ids {
        let id = store.resolve_chain(id).map_err(runs::failed)?;
        let chain = store.chain(&id)?;
        if let Some(step) = args.step {
            check_step(&chain, step).map_err(usage)?;
        }
        let run = store.run(&chain.row.run_id)?;
        found.push((chain, run));
    }
    match found.as_slice() {
        [(left, left_run), (right, right_run)] if !args.raw && !args.json => {
            let (step, colour) = (args.step, out.colour());
            let left = page::sections(left, left_run, step, colour);
            let right = page::sections(right, right_run, step, colour);
            out.write_all(columns::side_by_side(&left, &right, width()).as_bytes())?;
        }
        chains => {
            for (chain, run) in chains {
                let text = text(args, store, chain, run, out.colour())?;
                out.write_all(text.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// The chains that match the filter, one after the other.
fn matching(args: &Args, chosen: &Chosen, out: &mut Pager) -> Result<()> {
    let Chosen { store, filter, run } = chosen;
    let mut last: Option<RunDetail> = None;
    let mut shown = 0_u64;
    let mut show = |chain: &ChainDetail| -> Result<()> {
        if args
            .step
            .is_some_and(|step| check_step(chain, step).is_err())
        {
            return Ok(());
        }
        if last
            .as_ref()
            .is_none_or(|run| run.row.run_id != chain.row.run_id)
        {
            last = Some(store.run(&chain.row.run_id)?);
        }
        let Some(run) = &last else { return Ok(()) };
        if shown > 0 && !args.json && !args.raw {
            writeln!(out)?;
        }
        shown += 1;
        let text = text(args, store, chain, run, out.colour())?;
        Ok(out.write_all(text.as_bytes())?)
    };
    let flow = store
        .for_each_whole_chain(filter, run.as_deref(), Depth::Calls, |chain| {
            match show(&chain) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        })
        .map_err(runs::failed)?;
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) if shown == 0 && !args.json => {
            writeln!(out, "no chains")?;
            Ok(())
        }
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn text(
    args: &Args,
    store: &Store,
    chain: &ChainDetail,
    run: &RunDetail,
    colour: bool,
) -> Result<String> {
    if args.json {
        return as_json(store, chain, run, args.step).map(|line| line + "\n");
    }
    if args.raw {
        return Ok(raw::render(chain, args.step));
    }
    let mut page = page::render(chain, run, args.step, colour);
    if args.step.is_none()
        && let Some(gated) = store.gates_of(&ChainId(chain.row.chain_id.clone()))?
    {
        page.push_str(&gated::render(&gated));
    }
    Ok(page)
}

fn width() -> usize {
    let variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal_width().or_else(variable).unwrap_or(WIDTH)
}

fn check_step(chain: &ChainDetail, step: u32) -> Result<()> {
    if chain.steps.iter().any(|s| s.ordinal == step) {
        return Ok(());
    }
    let id = &chain.row.chain_id;
    match chain.steps.last() {
        Some(last) => bail!(
            "chain {id} has no step {step}; its steps are 0 to {}",
            last.ordinal
        ),
        None => bail!("chain {id} has no step yet"),
    }
}

fn as_json(
    store: &Store,
    chain: &ChainDetail,
    run: &RunDetail,
    step: Option<u32>,
) -> Result<String> {
    let id = ChainId(chain.row.chain_id.clone());
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
        "judgements": store.judgements(&id)?,
        "gates": store.gates_of(&id)?,
        "run": run.row,
    }))
    .context("cannot write the chain as JSON")
}

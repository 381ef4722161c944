//! `amend compare`: two runs over the same prompts, side by side.

mod page;

use std::io::Write;

use anyhow::{anyhow, bail};
use serde_json::json;

use super::chains::ConditionArgs;
use super::exit::usage;
use super::{DbArg, Exit, runs, stdout};
use crate::engine::config::differences;
use crate::evaluation::{Comparison, Pair};
use crate::store::{Filter, Paired, RunDetail, Store};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend run --drafts-from 3k9 -c other.yaml   another constitution on the drafts of a run
  amend compare 3k9 7mq                       what each found and wrote
  amend compare 3k9 7mq --differs-only --json one JSON object a line, the figures last
  amend compare 3k9 7mq --where 'principle:plain-words violated:true'
                                              only pairs in which it fired, in either run

Chains are paired by prompt (its id and its messages) and sample. Chains that failed or still run are left out.
With --where a pair is taken when the chain of either run matches.")]
pub struct Args {
    /// A run: its id, or the beginning of it
    #[arg(value_name = "RUN_A")]
    first: String,
    /// The run to compare it with
    #[arg(value_name = "RUN_B")]
    second: String,
    /// Show only pairs that differ in what fired or in their final text
    #[arg(long)]
    differs_only: bool,
    /// Show whole final texts
    #[arg(long)]
    full: bool,
    /// Print one JSON object a line: the pairs, then the figures
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    condition: ConditionArgs,
    #[command(flatten)]
    db: DbArg,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let filter = args.condition.parse()?;
    let store = runs::open(&args.db)?;
    // A run may write meanwhile, and pairs and counts belong to each other.
    store
        .at_one_moment(|| compare(&args, &store, &filter))
        .map_err(runs::failed)?
}

fn compare(args: &Args, store: &Store, filter: &Filter) -> anyhow::Result<Exit> {
    let first = detail(store, &args.first)?;
    let second = detail(store, &args.second)?;
    if first.row.run_id == second.row.run_id {
        bail!(usage(anyhow!(
            "{} is compared with itself; name two runs (`amend runs` lists them)",
            first.row.run_id
        )));
    }
    args.condition.explain(filter, None)?;
    let mut out = stdout::as_asked(args.json);
    if !args.json {
        out.write_all(page::header(&first, &second).as_bytes())?;
    }
    let (mut comparison, mut left_out) = (Comparison::default(), LeftOut::default());
    let (run_a, run_b) = (&first.row.run_id, &second.row.run_id);
    store
        .for_each_matching_pair(run_a, run_b, filter, |paired| {
            let pair = match paired {
                Paired::Pair(pair) => pair,
                Paired::Unmatched => {
                    left_out.unmatched += 1;
                    return Ok(());
                }
                Paired::Alone => {
                    left_out.first += 1;
                    return Ok(());
                }
            };
            comparison.add(&pair);
            match args.differs_only && !pair.differs() {
                true => Ok(()),
                false => show(args, &mut out, &pair),
            }
        })
        .map_err(runs::failed)??;
    let comparison = comparison.finish();
    let paired = comparison.counts.pairs + left_out.unmatched;
    left_out.second = second.row.chains.saturating_sub(paired);
    if args.json {
        let line = json!({
            "about": "comparison",
            "first": first.row,
            "second": second.row,
            "settings": settings(&first, &second),
            "filter": (!filter.is_all()).then(|| filter.source()),
            "comparison": comparison,
            "left_out_first": left_out.first,
            "left_out_second": left_out.second,
            "left_out_by_filter": left_out.unmatched,
        });
        writeln!(out, "{line}")?;
    } else {
        out.write_all(page::figures(&comparison, &left_out).as_bytes())?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn show(args: &Args, out: &mut impl Write, pair: &Pair) -> std::io::Result<()> {
    if args.json {
        let line = json!({ "about": "pair", "differs": pair.differs(), "pair": pair });
        writeln!(out, "{line}")
    } else {
        out.write_all(page::pair(pair, args.full).as_bytes())
    }
}

/// What is not in the figures.
#[derive(Default)]
struct LeftOut {
    /// Chains of the first run that are in no pair.
    first: u64,
    /// Chains of the second run that are in no pair.
    second: u64,
    /// Pairs that do not match the filter.
    unmatched: u64,
}

fn detail(store: &Store, prefix: &str) -> anyhow::Result<RunDetail> {
    let id = store.resolve_run(prefix).map_err(runs::failed)?;
    store.run(&id).map_err(runs::failed)
}

/// The settings in which the runs differ: name, first, second.
fn settings(first: &RunDetail, second: &RunDetail) -> Vec<(String, String, String)> {
    let found = differences(&first.config, &second.config).into_iter();
    found.map(|d| (d.setting, d.stored, d.now)).collect()
}

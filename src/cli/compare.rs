//! `amend compare`: two runs over the same prompts, side by side.

mod page;

use std::io::Write;

use anyhow::{anyhow, bail};
use serde_json::json;

use super::exit::usage;
use super::{DbArg, Exit, runs};
use crate::engine::config::differences;
use crate::evaluation::Comparison;
use crate::store::{RunDetail, Store};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend run --drafts-from 3k9 -c other.yaml   another constitution on the drafts of a run
  amend compare 3k9 7mq                       what each found and wrote
  amend compare 3k9 7mq --differs-only --json one JSON object a line, the figures last

Chains are paired by prompt and sample. Chains that failed or still run are left out.")]
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
    db: DbArg,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let store = runs::open(&args.db)?;
    let first = detail(&store, &args.first)?;
    let second = detail(&store, &args.second)?;
    if first.row.run_id == second.row.run_id {
        bail!(usage(anyhow!(
            "{} is compared with itself; name two runs (`amend runs` lists them)",
            first.row.run_id
        )));
    }
    let mut out = anstream::stdout().lock();
    if !args.json {
        out.write_all(page::header(&first, &second).as_bytes())?;
    }
    let (mut comparison, mut left_out) = (Comparison::default(), 0_u64);
    store
        .for_each_pair(&first.row.run_id, &second.row.run_id, |pair| {
            let Some(pair) = pair else {
                left_out += 1;
                return Ok(());
            };
            comparison.add(&pair);
            if args.differs_only && !pair.differs() {
                return Ok(());
            }
            if args.json {
                let line = json!({ "about": "pair", "differs": pair.differs(), "pair": pair });
                writeln!(out, "{line}")
            } else {
                out.write_all(page::pair(&pair, args.full).as_bytes())
            }
        })
        .map_err(runs::failed)??;
    let comparison = comparison.finish();
    let unpaired = Unpaired {
        first: left_out,
        second: second.row.chains.saturating_sub(comparison.pairs),
    };
    if args.json {
        let line = json!({
            "about": "comparison",
            "first": first.row,
            "second": second.row,
            "settings": settings(&first, &second),
            "comparison": comparison,
            "left_out_first": unpaired.first,
            "left_out_second": unpaired.second,
        });
        writeln!(out, "{line}")?;
    } else {
        out.write_all(page::figures(&comparison, &unpaired).as_bytes())?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// Chains that are in no pair.
struct Unpaired {
    first: u64,
    second: u64,
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

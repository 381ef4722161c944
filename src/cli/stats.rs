//! `amend stats`.

use std::io::{self, Write};

use anstyle::Style;
use anyhow::Result;
use serde::Serialize;

use super::chains::{ChainsArgs, Chosen};
use super::text::{Table, plural, sanitize, terminal_width};
use super::{Exit, runs, stdout};
use crate::store::{NameCount, PrincipleStats, RunStats, StoreError};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend stats                       every run in amend.db
  amend stats --run 3k9 --json      one run, as JSON
  amend stats --where revised:true  only the chains that were revised

Filters are those of `amend ls`; `amend ls --help` explains them.")]
pub struct Args {
    /// Print one JSON object a line: first the runs, then the principles
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chains: ChainsArgs,
}

/// One line of `--json`.
#[derive(Serialize)]
#[serde(tag = "about", rename_all = "lowercase")]
enum Line<'a> {
    Run(&'a RunStats),
    Principle(&'a PrincipleStats),
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit> {
    let Chosen { store, filter, run } = args.chains.open()?;
    // A run may write meanwhile, and the figures belong to each other.
    let read = || -> Result<_, StoreError> {
        let per_run = store.run_stats(&filter, run.as_deref())?;
        let per_principle = store.principle_stats(&filter, run.as_deref())?;
        Ok((per_run, per_principle))
    };
    let read = store.at_one_moment(read).map_err(runs::failed)?;
    let (per_run, per_principle) = read.map_err(runs::failed)?;

    let mut out = stdout::as_asked(args.json);
    if args.json {
        let lines = per_run.iter().map(Line::Run);
        for line in lines.chain(per_principle.iter().map(Line::Principle)) {
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        }
        return Ok(Exit::Done);
    }
    for stats in &per_run {
        write_run(&mut out, stats)?;
        writeln!(out)?;
    }
    if per_run.is_empty() {
        writeln!(out, "no chains")?;
    }
    if !per_principle.is_empty() {
        write_principles(&mut out, &per_principle)?;
    }
    Ok(Exit::Done)
}

fn write_run(out: &mut impl Write, stats: &RunStats) -> io::Result<()> {
    let bold = Style::new().bold();
    writeln!(out, "{bold}run {}{bold:#}", sanitize(&stats.run_id))?;
    let mut line = |name: &str, text: String| writeln!(out, "  {name:<8}  {text}");
    line("chains", with_counts(stats.chains, &stats.statuses))?;
    if !stats.stop_reasons.is_empty() {
        line("stopped", counts(&stats.stop_reasons))?;
    }
    let changed = stats.mean_changed.map_or_else(String::new, |share| {
        format!(", {} of their words changed", percent(share))
    });
    line(
        "revised",
        format!(
            "{}{changed}; {} regressed",
            plural(stats.revised, "chain"),
            stats.regressed
        ),
    )?;
    line(
        "steps",
        format!(
            "{} in {} model calls, {} more answered from the store",
            stats.steps, stats.calls, stats.reused_calls
        ),
    )?;
    let cached = stats.cached_share.map_or_else(String::new, |share| {
        format!(" ({} from the KV cache)", percent(share))
    });
    line(
        "tokens",
        format!(
            "{} read{cached}, {} written",
            stats.prompt_tokens, stats.completion_tokens
        ),
    )?;
    if stats.proposed_tokens > 0 {
        let (proposed, accepted) = (stats.proposed_tokens, stats.accepted_tokens);
        let share = percent(accepted as f64 / proposed as f64);
        line(
            "lookup",
            format!(
                "{accepted} of {proposed} tokens guessed from repeated text were right ({share})"
            ),
        )?;
    }
    if let Some(speed) = speed(stats) {
        line("speed", speed)?;
    }
    if !stats.flags.is_empty() {
        line("flags", counts(&stats.flags))?;
    }
    Ok(())
}

fn speed(stats: &RunStats) -> Option<String> {
    let each = stats
        .tokens_per_second_each
        .map(|each| format!("{each:.1} tokens/s as one sequence sees it"));
    match (stats.tokens_per_second, each) {
        (Some(all), Some(each)) => Some(format!("{all:.1} tokens/s, {each}")),
        (Some(all), None) => Some(format!("{all:.1} tokens/s")),
        (None, each) => each,
    }
}

fn write_principles(out: &mut impl Write, principles: &[PrincipleStats]) -> io::Result<()> {
    let mut table = Table::new(&[
        "PRINCIPLE",
        ">ASKED",
        ">VIOLATED",
        ">REVISED",
        ">MEAN P",
        ">UNVERIFIED QUOTES",
        ">RECHECKED",
        ">REGRESSED",
    ]);
    for stats in principles {
        let mean = stats.mean_probability;
        table.row(vec![
            stats.principle_id.clone(),
            stats.asked.to_string(),
            stats.violated.to_string(),
            stats.revised.to_string(),
            mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.2}")),
            stats.unverified_quotes.to_string(),
            stats.rechecked.to_string(),
            stats.regressed.to_string(),
        ]);
    }
    for line in table.lines(terminal_width()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn with_counts(total: u64, parts: &[NameCount]) -> String {
    match parts.is_empty() {
        true => format!("{total}"),
        false => format!("{total}: {}", counts(parts)),
    }
}

fn counts(parts: &[NameCount]) -> String {
    let parts = parts
        .iter()
        .map(|part| format!("{} {}", part.name, part.count));
    sanitize(&parts.collect::<Vec<_>>().join(", ")).into_owned()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

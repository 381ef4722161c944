//! `amend export`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use serde_json::json;

use super::chains::{ChainsArgs, Chosen};
use super::gate::{self, GateArgs};
use super::text::plural;
use super::{Exit, exit};
use crate::export::{self, ExportError, ExportOptions, Format, Manifest};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend export --format trl-sft --out out/sft
  amend export --format trl-sft --all-rounds --out out/rounds --run 3f9
  amend export --format trl-dpo --out out/dpo --where 'violated:true stop:rounds-done'

The folder then holds train.jsonl with the rows, dropped.jsonl with the reason for every chain that
gave none, and manifest.json with counts, digests and the runs that the rows come from.")]
pub struct Args {
    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Format,
    /// The folder to write to; made when it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One row for every adopted revision, not only for the last (trl-sft)
    #[arg(long)]
    all_rounds: bool,
    /// Write into a folder that holds files of others, and over files of the same names
    #[arg(long)]
    force: bool,
    /// Print the manifest as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chains: ChainsArgs,
    #[command(flatten)]
    gates: GateArgs,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    if args.all_rounds && args.format != Format::TrlSft {
        return Err(exit::usage(anyhow!(
            "--all-rounds is for --format trl-sft; a preference pair has one final text"
        )));
    }
    let settings = args.gates.settings()?;
    let Chosen { store, filter, run } = args.chains.open()?;
    let gating = args
        .gates
        .gate(&store, &filter, run.as_deref(), &settings)?;
    gate::keep(&gating, args.chains.db(), &filter, run.as_deref())?;
    if !args.gates.holds(&gating)? {
        return Ok(Exit::CheckFailed);
    }
    let options = ExportOptions {
        format: args.format,
        filter,
        run,
        all_rounds: args.all_rounds,
        force: args.force,
    };
    let manifest =
        export::export(&store, &args.out, &options, &gating).map_err(|error| match error {
            ExportError::NotAFolder(_) | ExportError::Foreign { .. } => exit::usage(error),
            error => error.into(),
        })?;
    let out = &args.out;
    let mut stdout = anstream::stdout().lock();
    if args.json {
        let object = json!({"out": out.to_string_lossy(), "manifest": manifest});
        writeln!(stdout, "{object}").context("cannot print the manifest")?;
    } else {
        print_summary(&mut stdout, out, &manifest)?;
    }
    Ok(Exit::Done)
}

fn print_summary(
    out: &mut impl Write,
    folder: &std::path::Path,
    manifest: &Manifest,
) -> std::io::Result<()> {
    let file = folder.join(export::ROWS_FILE);
    writeln!(
        out,
        "{} from {}, {}: {}",
        plural(manifest.rows, "row"),
        plural(manifest.chains, "chain"),
        manifest.format,
        file.display()
    )?;
    let dropped = manifest.dropped_total();
    if dropped > 0 {
        let file = folder.join(export::DROPPED_FILE);
        writeln!(
            out,
            "{dropped} dropped ({}): {}",
            manifest.reasons(),
            file.display()
        )?;
    }
    for (flag, count) in &manifest.flags {
        writeln!(out, "{} flagged {flag}", plural(*count, "row"))?;
    }
    Ok(())
}

//! `amend export`.

use std::io::Write;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use anyhow::Context;
use serde_json::json;

use super::chains::{ChainsArgs, Chosen};
use super::gate::{self, GateArgs};
use super::text::plural;
use super::{Exit, exit, runs, stdout};
use crate::export::{
    self, CardOptions, ExportError, ExportOptions, Format, Kind, Manifest, ReplayOptions,
    ShardLimit, Splits,
};
use crate::quality::gates::Gating;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend export --format trl-sft --out out/sft
  amend export --format trl-sft --all-rounds --out out/rounds --run 3f9
  amend export --format trl-dpo --out out/dpo --where 'violated:true stop:rounds-done'
  amend export --format trl-dpo --as parquet --splits train=0.9,test=0.1 --license cc-by-4.0 --out out/hub
  amend export --format axolotl-sft --replay general.jsonl --replay-ratio 0.1 --out out/axolotl

The folder then holds the rows (train.jsonl, or data/ where files are numbered), dropped.jsonl with the
reason for every chain that gave none, README.md as the dataset's card, and manifest.json with counts,
digests and the runs that the rows come from.")]
pub struct Args {
    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Format,
    /// The folder to write to; made when it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The kind of the files that hold rows
    #[arg(long = "as", value_enum, default_value_t, value_name = "KIND")]
    kind: Kind,
    /// One row for every adopted revision, not only for the last (formats whose rows are answers)
    #[arg(long)]
    all_rounds: bool,
    /// Divide prompts by these shares, each prompt on one side [default: all in train; mlx and hf-cai hold a
    /// tenth back]
    #[arg(long, value_name = "NAME=SHARE,…")]
    splits: Option<Splits>,
    /// What the division derives from
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Begin another file after this many rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    shard_rows: Option<u64>,
    /// Begin another file at this size, such as 500MB [default for Parquet: 500MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    shard_size: Option<u64>,
    /// Mix general data in, against forgetting: JSONL or Parquet with `messages`, or `prompt` and `response`
    #[arg(long, value_name = "FILE", requires = "replay_ratio")]
    replay: Option<PathBuf>,
    /// Rows of it for each row of the chains
    #[arg(long, value_name = "R", value_parser = ratio, requires = "replay")]
    replay_ratio: Option<f64>,
    /// Add the model's own drafts for control prompts (`run --controls`) where no critique objected to them
    #[arg(long)]
    benign: bool,
    /// The dataset's licence for its card, by the Hub's name, such as cc-by-4.0; one that the Hub does not list is
    /// `other` there, with this name
    #[arg(long, value_name = "ID", value_parser = license)]
    license: Option<String>,
    /// The title of its card
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
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
    let settings = args.gates.settings()?;
    let Chosen { store, filter, run } = args.chains.open()?;
    let mut options = ExportOptions {
        filter,
        run,
        all_rounds: args.all_rounds,
        force: args.force,
        kind: args.kind,
        splits: args.splits,
        seed: args.seed,
        shard: ShardLimit {
            rows: args.shard_rows,
            bytes: args.shard_size,
        },
        replay: args
            .replay
            .zip(args.replay_ratio)
            .map(|(path, ratio)| ReplayOptions { path, ratio }),
        benign: args.benign,
        card: CardOptions {
            license: args.license,
            title: args.title,
        },
        ..ExportOptions::new(args.format)
    };
    let out = &args.out;
    let (filter, run) = (options.filter.clone(), options.run.clone());
    let (db, filter, run) = (args.chains.db(), &filter, run.as_deref());
    let mut judge = args.gates.judge(&store, filter, run)?;
    store.keep_few_pages().map_err(runs::failed)?;
    let mut decided: Option<Arc<Gating>> = None;
    let (exported, kept) = thread::scope(|scope| {
        let mut keeping = None;
        // What is written is what the gates looked at, also where a run or a person goes on meanwhile.
        let exported = store.at_one_moment(|| -> anyhow::Result<_> {
            let judge = judge.as_mut();
            let gating = Arc::new(args.gates.gate(&store, filter, run, &settings, judge)?);
            // Decisions are kept whatever becomes of the rows, and while these are written.
            let keep = Arc::clone(&gating);
            keeping = Some(scope.spawn(move || gate::keep(&keep, db, filter, run)));
            decided = Some(Arc::clone(&gating));
            options.soft_labels = gating
                .figures
                .contrast
                .is_some_and(|contrast| contrast.judged > 0);
            match args.gates.holds(&gating)? {
                true => export::export(&store, out, &options, &gating)
                    .map(Some)
                    .map_err(failed),
                false => Ok(None),
            }
        });
        (exported, keeping.map(ScopedJoinHandle::join))
    });
    let kept = match (kept, &decided) {
        (Some(Err(panic)), _) => resume_unwind(panic),
        // A copy of a store may be one that cannot be read and written at once.
        (Some(Ok(Err(_))), Some(gating)) => gate::keep(gating, db, filter, run),
        (Some(Ok(kept)), _) => kept,
        (None, _) => Ok(()),
    };
    let exported = exported.map_err(runs::failed)?;
    let Some(manifest) = exported? else {
        kept?;
        return Ok(Exit::CheckFailed);
    };
    kept.with_context(|| format!("the dataset is written to {}", out.display()))?;
    let printed = if args.json {
        let object = json!({"out": out.to_string_lossy(), "manifest": manifest});
        stdout::line(&object)
    } else {
        print_summary(&mut stdout::styled(), out, &manifest)
    };
    stdout::or_closed(printed)
        .with_context(|| format!("the dataset is written to {}", out.display()))?;
    Ok(Exit::Done)
}

fn failed(error: ExportError) -> anyhow::Error {
    match error {
        ExportError::NotAFolder(_)
        | ExportError::Foreign { .. }
        | ExportError::Options(_)
        | ExportError::Replay { .. } => exit::usage(error),
        error => error.into(),
    }
}

fn print_summary(out: &mut impl Write, folder: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let files: Vec<_> = manifest
        .splits
        .iter()
        .flat_map(|split| &split.files)
        .collect();
    let place = match &files[..] {
        [file] => folder.join(file),
        _ => folder.to_owned(),
    };
    writeln!(
        out,
        "{} from {}, {}: {}",
        plural(manifest.rows, "row"),
        plural(manifest.chains, "chain"),
        manifest.format,
        place.display()
    )?;
    if files.len() > 1 {
        for split in &manifest.splits {
            let (rows, files) = (
                plural(split.rows, "row"),
                plural(split.files.len() as u64, "file"),
            );
            writeln!(out, "{}: {rows} in {files}", split.name)?;
        }
    }
    for name in manifest.empty_splits() {
        writeln!(
            out,
            "{name}: no row; there are too few prompts that are not like the others"
        )?;
    }
    if let Some(replay) = &manifest.replay {
        writeln!(
            out,
            "{} of general data among them",
            plural(replay.rows, "row")
        )?;
    }
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

fn license(text: &str) -> Result<String, String> {
    match export::is_license(text) {
        true => Ok(text.to_owned()),
        false => Err("write it as the Hub does, such as cc-by-4.0, apache-2.0 or other".to_owned()),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match value > 0.0 && value <= 100.0 {
        true => Ok(value),
        false => Err("must be above 0, and 100 at most".to_owned()),
    }
}

/// Bytes, with the units that people write.
fn size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("write a size such as 500MB or 1GiB".to_owned()),
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "write a size above 0, such as 500MB or 1GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("500MB"), Ok(500_000_000));
        assert_eq!(size("1 GiB"), Ok(1 << 30));
        assert_eq!(size("12"), Ok(12));
        for bad in ["", "MB", "0", "1TBx", "99999999999999999999", "-1"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}

//! `amend constitution stress`.

use std::io::Write;

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::trial::{self, TrialArgs};
use crate::cli::exit::{say, usage};
use crate::cli::text::{Table, excerpt, terminal_width};
use crate::cli::{Exit, signals};
use crate::engine::machine::Plan;
use crate::evaluation::{PairStress, Retrigger, Stress, pairs};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution stress mine.yaml --pairs 10
  amend constitution stress mine.yaml --pairs 3 --prompts 4 --format json

For each pair of active principles the model writes prompts on which the two pull apart. Each prompt goes
through two rounds and a recheck, once in either order of the principles, on the same draft. Pairs come first
whose principles, mended one after the other, break each other most often. Nothing is kept.")]
pub struct Args {
    /// The constitution: a YAML file, or the name of one that comes with this program
    #[arg(value_name = "FILE")]
    constitution: String,
    /// How many pairs of principles, drawn by --seed
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pairs: u32,
    /// Prompts for each pair
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    prompts: u32,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    trial: TrialArgs,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let constitution = trial::read(&args.constitution)?.resolved.constitution;
    let plan = args.trial.plan(constitution)?;
    let pairs = pairs(&plan.constitution, args.pairs as usize, plan.seed);
    if pairs.is_empty() {
        bail!(usage(anyhow!(
            "{}: there are fewer than two active principles, so there is no pair",
            args.constitution
        )));
    }
    let interrupted = signals::interruption("", "left at once")?;
    let loaded = args.trial.load()?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} pairs");
    let bar = ProgressBar::new(pairs.len() as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let stress = Stress {
        plan: &plan,
        pairs,
        prompts: args.prompts,
    };
    let results = stress.run(loaded.backend(), &interrupted, &mut || bar.inc(1));
    bar.finish_and_clear();
    let Some(results) = results? else {
        say("interrupted; nothing was kept");
        return Ok(Exit::Interrupted);
    };
    let mut out = anstream::stdout().lock();
    match args.format {
        Format::Text => out.write_all(page(&results).as_bytes())?,
        Format::Json => writeln!(
            out,
            "{}",
            to_json(&plan, &loaded.backend().identity().name, &results)
        )?,
    }
    out.flush()?;
    let failed = results.iter().any(|result| result.failed > 0);
    Ok(if failed { Exit::SomeFailed } else { Exit::Done })
}

fn page(results: &[PairStress]) -> String {
    let mut table = Table::new(&[
        "FIRST",
        "SECOND",
        ">BROKEN",
        ">FIRST BREAKS SECOND",
        ">SECOND BREAKS FIRST",
        ">CHAINS",
        ">FAILED",
    ]);
    let of = |cell: Retrigger| format!("{} of {}", cell.fired, cell.asked);
    for result in results {
        table.row(vec![
            result.pair.first.clone(),
            result.pair.second.clone(),
            result
                .share
                .map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
            of(result.first_breaks_second),
            of(result.second_breaks_first),
            result.chains.to_string(),
            result.failed.to_string(),
        ]);
    }
    let mut page = table.lines(terminal_width()).join("\n") + "\n";
    for result in results {
        page.push_str(&format!(
            "\n{} and {}\n",
            result.pair.first, result.pair.second
        ));
        for prompt in &result.prompts {
            page.push_str(&format!("  {}\n", excerpt(prompt, 110)));
        }
        if result.without_prompt > 0 {
            page.push_str(&format!(
                "  {} prompts hold no text\n",
                result.without_prompt
            ));
        }
    }
    page
}

fn to_json(plan: &Plan, model: &str, results: &[PairStress]) -> Value {
    json!({
        "constitution": {
            "name": plan.constitution.name,
            "version": plan.constitution.version,
            "digest": plan.constitution.digest(),
        },
        "model": model,
        "pack": plan.pack.name,
        "threshold": plan.threshold,
        "seed": plan.seed,
        "pairs": results,
    })
}

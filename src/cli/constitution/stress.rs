//! `amend constitution stress`.

mod page;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::trial::{self, TrialArgs};
use super::{print, print_data};
use crate::cli::backend::Loaded;
use crate::cli::exit::{say, usage};
use crate::cli::{Exit, job, runs, signals};
use crate::constitution::Revise;
use crate::digest::Digest;
use crate::engine::config::{RunConfig, StressConfig};
use crate::engine::machine::Plan;
use crate::engine::memory::Memory;
use crate::engine::policy::Select;
use crate::evaluation::{PairStress, PrinciplePair, STRESS_ROUNDS, Stress, pairs};
use crate::store::{NewRun, RunLock, RunState};

/// What stands in the place of a prompt file: the model writes the prompts.
pub const PROMPTS: &str = "amend constitution stress";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution stress mine.yaml --pairs 10
  amend constitution stress mine.yaml --pairs 3 --prompts 4 --format json
  amend constitution stress mine.yaml --db stress.db    keep the chains, for ls, show and coverage

For each pair of active principles the model writes prompts on which the two pull apart. Each prompt goes
through two rounds and a recheck, once in either order of the principles, on the same draft. Pairs come first
whose principles, mended one after the other, break each other most often.

Nothing is kept unless --db names a store: prompts that are made to provoke do not belong into a dataset
unasked. There the chains are a run, and the same command goes on from what is kept.")]
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
    /// Keep prompts, chains and replies in this SQLite file
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
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
    if let Some(db) = &args.db {
        trial::store_before_model(db)?;
    }
    let interrupted = signals::interruption("", "left at once")?;
    let loaded = args.trial.load()?;
    let config = config(&args, &plan, &pairs, &loaded);
    let stress = Stress {
        plan: &plan,
        run_id: &config.run_id(),
        pairs,
        prompts: args.prompts,
    };
    let Some(results) = execute(&args, &config, stress, &loaded, &interrupted)? else {
        say(match &args.db {
            Some(_) => "interrupted; the same command goes on from what is kept",
            None => "interrupted; nothing was kept",
        });
        return Ok(Exit::Interrupted);
    };
    let kept = args.db.as_deref().map(|db| (db, config.run_id()));
    match args.format {
        Format::Text => print(&page::render(&results, kept))?,
        Format::Json => {
            let run = kept.map(|(_, run)| run);
            let model = &loaded.backend().identity().name;
            print_data(&format!("{}\n", to_json(&plan, model, run, &results)))?;
        }
    }
    let failed = results.iter().any(|result| result.failed > 0);
    Ok(if failed { Exit::SomeFailed } else { Exit::Done })
}

/// Runs the chains, and keeps them where a store is named. `None` when interrupted.
fn execute(
    args: &Args,
    config: &RunConfig,
    stress: Stress<'_>,
    loaded: &Loaded,
    interrupted: &AtomicBool,
) -> anyhow::Result<Option<Vec<PairStress>>> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} chains");
    let chains = stress.pairs.len() as u64 * u64::from(stress.prompts) * 2;
    let bar =
        ProgressBar::new(chains).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut done = || bar.inc(1);
    let Some(db) = &args.db else {
        let memory = &mut Memory::default();
        let results = stress.run(loaded.backend(), memory, interrupted, &mut done);
        bar.finish_and_clear();
        return Ok(results?);
    };
    let mut writer = trial::store(db)?;
    let _lock = RunLock::acquire(db, stress.run_id).map_err(runs::failed)?;
    writer
        .begin_run(&record(args, stress.plan, config, loaded)?)
        .map_err(runs::failed)?;
    let memory = &mut Memory::keeping(&mut writer);
    let results = stress.run(loaded.backend(), memory, interrupted, &mut done);
    bar.finish_and_clear();
    let state = match &results {
        Ok(Some(_)) => RunState::Done,
        _ => RunState::Interrupted,
    };
    // The first error is the one to tell.
    let closed = writer.set_run_state(state).map_err(runs::failed);
    let results = results?;
    closed?;
    Ok(results)
}

/// What tells the run apart.
fn config(args: &Args, plan: &Plan, pairs: &[PrinciplePair], loaded: &Loaded) -> RunConfig {
    let model = loaded.backend().identity();
    let pairs = pairs
        .iter()
        .map(|pair| [pair.first.clone(), pair.second.clone()]);
    RunConfig {
        prompts: Digest::of(&(PROMPTS, args.prompts)),
        prompts_kind: "stress".to_owned(),
        prompt_field: "prompt".to_owned(),
        limit: None,
        keep_duplicates: true,
        constitution: plan.constitution.digest(),
        pack: plan.pack.digest(),
        model: model.digest.clone(),
        model_settings: model.settings.clone(),
        seed: plan.seed,
        samples: 2,
        rounds: STRESS_ROUNDS,
        // Each chain takes the two of its pair.
        select: Select::All,
        revise: Revise::WhenViolated,
        recheck: true,
        threshold: plan.threshold,
        sampling: plan.sampling.clone(),
        deterministic: args.trial.deterministic,
        adapters: plan.adapters.clone(),
        drafts: None,
        controls: None,
        stress: Some(StressConfig {
            pairs: pairs.collect(),
            prompts: args.prompts,
        }),
    }
}

/// What the store keeps of the run.
fn record(args: &Args, plan: &Plan, config: &RunConfig, loaded: &Loaded) -> anyhow::Result<NewRun> {
    Ok(NewRun {
        run_id: config.run_id(),
        fingerprint: config.fingerprint(),
        config: serde_json::to_value(config)?,
        constitution: plan.constitution.clone(),
        pack_name: plan.pack.name.clone(),
        pack_text: plan.pack.text().to_owned(),
        pack_digest: plan.pack.digest(),
        model: loaded.backend().identity().clone(),
        prompts_path: PROMPTS.to_owned(),
        prompts_digest: config.prompts.clone(),
        versions: job::versions(),
        execution: json!({ "constitution": args.constitution, "model": args.trial.model }),
    })
}

fn to_json(plan: &Plan, model: &str, run: Option<String>, results: &[PairStress]) -> Value {
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
        // Where it is null, nothing was kept, and the names of chains stand for nothing.
        "run_id": run,
        "pairs": results,
    })
}

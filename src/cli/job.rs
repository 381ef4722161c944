//! What a run needs, with everything resolved: from the options that the person typed to a plan, a
//! backend, prompts, and the configuration that tells the run apart.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::backend::ModelIdentity;
use crate::chain::{ChainId, ChainStart};
use crate::constitution::{self, Constitution, Revise};
use crate::dataset::{self, PromptReader, ReadOptions, Row, Skipped};
use crate::digest::Digest;
use crate::engine::RecordError;
use crate::engine::config::RunConfig;
use crate::engine::machine::Plan;
use crate::engine::policy::Select;
use crate::generation::SamplingParams;
use crate::prompt::Prompt;
use crate::store::NewRun;
use crate::template::{CritiqueStyle, Pack};

use super::args::{ChainArgs, ModelArgs, PromptArgs, SamplingArgs, parse_limit};
use super::exit::usage;

/// Rounds, where neither command line nor pack nor constitution says how many.
const DEFAULT_ROUNDS: u32 = 2;

/// Everything that describes a run. Kept in the store, so that `resume` needs no options.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct JobArgs {
    /// The prompt file: .jsonl, .csv, .txt or .parquet
    pub prompts: PathBuf,
    #[command(flatten)]
    #[serde(flatten)]
    pub chain: ChainArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub reading: PromptArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub model: ModelArgs,
}

/// A run whose inputs were read and checked, before any model is loaded.
pub struct Job {
    /// What was asked for, paths made absolute.
    pub args: JobArgs,
    /// What every chain follows.
    pub plan: Plan,
    /// Digest of the prompt file.
    pub prompts_digest: Digest,
}

impl Job {
    /// Reads and checks everything that needs no model. Every error is one of usage or input.
    pub fn prepare(args: JobArgs) -> anyhow::Result<Self> {
        if args.prompts.to_str().is_none() {
            bail!(usage(anyhow!(
                "{}: the path is not UTF-8; rename the file",
                args.prompts.display()
            )));
        }
        let args = absolute(args);
        let prompts_digest = dataset::digest(&args.prompts).map_err(usage)?;
        let constitution = constitution::load(&args.chain.constitution)
            .map_err(usage)?
            .resolved
            .constitution;
        let pack = Pack::load(&args.chain.pack).map_err(usage)?;
        let plan = plan(&args, constitution, pack).map_err(usage)?;
        Ok(Self {
            args,
            plan,
            prompts_digest,
        })
    }

    /// The prompts that the run takes, from the start of the file.
    pub fn prompts(&self) -> anyhow::Result<Prompts> {
        let reader = dataset::open(&self.args.prompts, &self.read_options()).map_err(usage)?;
        // The limit was parsed when the options were.
        let range = self
            .args
            .reading
            .limit
            .as_deref()
            .and_then(|l| parse_limit(l).ok());
        Ok(Prompts {
            reader,
            range: range.unwrap_or(0..u64::MAX),
            index: 0,
        })
    }

    fn read_options(&self) -> ReadOptions {
        ReadOptions {
            prompt_field: self.args.reading.prompt_field.clone(),
            strict: self.args.reading.strict,
            keep_duplicates: self.args.reading.keep_duplicates,
            ..ReadOptions::default()
        }
    }

    /// The configuration that decides the results, with the given model.
    pub fn config(&self, model: &ModelIdentity) -> RunConfig {
        let plan = &self.plan;
        RunConfig {
            prompts: self.prompts_digest.clone(),
            prompts_kind: extension(&self.args.prompts),
            prompt_field: self.args.reading.prompt_field.clone(),
            limit: self.args.reading.limit.clone(),
            keep_duplicates: self.args.reading.keep_duplicates,
            constitution: plan.constitution.digest(),
            pack: plan.pack.digest(),
            model: model.digest.clone(),
            model_settings: model.settings.clone(),
            seed: plan.seed,
            samples: self.args.chain.samples,
            rounds: plan.rounds,
            select: plan.select.clone(),
            revise: plan.revise,
            recheck: plan.recheck,
            threshold: plan.threshold,
            sampling: plan.sampling.clone(),
            deterministic: self.args.chain.deterministic,
        }
    }

    /// What the store keeps of the run.
    pub fn record(&self, config: &RunConfig, model: &ModelIdentity) -> anyhow::Result<NewRun> {
        Ok(NewRun {
            run_id: config.run_id(),
            fingerprint: config.fingerprint(),
            config: serde_json::to_value(config)?,
            constitution: self.plan.constitution.clone(),
            pack_name: self.plan.pack.name.clone(),
            pack_text: self.plan.pack.text().to_owned(),
            pack_digest: self.plan.pack.digest(),
            model: model.clone(),
            prompts_path: self.args.prompts.display().to_string(),
            prompts_digest: self.prompts_digest.clone(),
            versions: versions(),
            execution: serde_json::to_value(&self.args)?,
        })
    }
}

/// The extension that decides how a prompt file is read.
fn extension(path: &Path) -> String {
    path.extension()
        .map(|e| e.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default()
}

fn versions() -> Value {
    json!({ "amend": env!("CARGO_PKG_VERSION"), "llama-cpp-2": "0.1.160" })
}

/// Paths as they are seen from anywhere, so that a run can be resumed from another folder.
fn absolute(mut args: JobArgs) -> JobArgs {
    let full = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // What is not the name of something that comes with this program, and is there, is a path.
    let file = |text: &str, shipped: bool| match !shipped && Path::new(text).exists() {
        true => full(Path::new(text)).display().to_string(),
        false => text.to_owned(),
    };
    args.prompts = full(&args.prompts);
    args.chain.constitution = file(&args.chain.constitution, false);
    let pack = &args.chain.pack;
    args.chain.pack = file(pack, Pack::builtin_names().any(|name| name == pack));
    let model = &args.model.model;
    // The model of a server is a name there.
    let name =
        model == "default" || model.starts_with("hf:") || args.model.endpoint.endpoint.is_some();
    args.model.model = file(model, name);
    args.model.script = args.model.script.as_deref().map(full);
    if args.chain.deterministic && args.model.threads.is_none() {
        // Kept with the run, so that it is continued with as many on another machine.
        let cores = std::thread::available_parallelism().ok().map(usize::from);
        args.model.threads = cores.and_then(|n| u32::try_from(n).ok());
    }
    // Kept with the run, so that one that is resumed on another day goes on with the same date.
    args.model
        .template
        .chat_template_date
        .get_or_insert_with(|| jiff::Zoned::now().date());
    args.model.template.chat_template_file =
        args.model.template.chat_template_file.as_deref().map(full);
    args
}

/// Command line before pack before constitution before program.
fn plan(args: &JobArgs, constitution: Constitution, pack: Pack) -> anyhow::Result<Plan> {
    let ours = &constitution.defaults;
    let rounds = args.chain.rounds.or(pack.defaults.rounds).or(ours.rounds);
    let revise = args.chain.revise.or(pack.defaults.revise).or(ours.revise);
    let select = args.chain.select.clone().or_else(|| ours.select.clone());
    let plan = Plan {
        rounds: rounds.unwrap_or(DEFAULT_ROUNDS),
        revise: revise.unwrap_or(Revise::WhenViolated),
        select: Select::from(select.unwrap_or_else(|| "sample".to_owned())),
        recheck: args.chain.recheck,
        threshold: args.chain.threshold,
        sampling: sampling(&args.sampling, &pack),
        seed: args.sampling.seed,
        constitution,
        pack,
    };
    if let Select::Ids(ids) = &plan.select {
        check_ids(ids, &plan.constitution)?;
    }
    let drawable = plan.constitution.active().iter().any(|p| p.weight > 0.0);
    if plan.select == Select::Sample && plan.rounds > 0 && !drawable {
        bail!(
            "every active principle of `{}` has weight 0, so none can be drawn; raise a weight, or use --select all",
            plan.constitution.name
        );
    }
    if plan.pack.critique == CritiqueStyle::Prose && plan.revise == Revise::WhenViolated {
        bail!(
            "the pack `{}` asks for critiques in prose, which hold no verdict; use --revise always, or a pack with verdicts",
            plan.pack.name
        );
    }
    Ok(plan)
}

fn sampling(args: &SamplingArgs, pack: &Pack) -> SamplingParams {
    let (base, pack) = (SamplingParams::default(), &pack.defaults.sampling);
    SamplingParams {
        temperature: args.temp.or(pack.temperature).unwrap_or(base.temperature),
        top_k: args.top_k.or(pack.top_k).unwrap_or(base.top_k),
        top_p: args.top_p.or(pack.top_p).unwrap_or(base.top_p),
        min_p: args.min_p.or(pack.min_p).unwrap_or(base.min_p),
        max_tokens: args
            .max_tokens
            .or(pack.max_tokens)
            .unwrap_or(base.max_tokens),
    }
}

fn check_ids(ids: &[String], constitution: &Constitution) -> anyhow::Result<()> {
    if ids.is_empty() {
        bail!("--select names no principle; use `sample`, `all`, or ids separated by commas");
    }
    for id in ids {
        if constitution.principle(id).is_none() {
            let near = constitution
                .principles
                .iter()
                .map(|p| (strsim::jaro_winkler(id, &p.id), &p.id))
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, id)| format!("; did you mean `{id}`?"));
            bail!(
                "--select: the constitution `{}` has no principle `{id}`{}",
                constitution.name,
                near.unwrap_or_default()
            );
        }
    }
    Ok(())
}

/// The prompts of a run, in the order of the file, rows that cannot be used among them.
pub struct Prompts {
    reader: PromptReader,
    range: std::ops::Range<u64>,
    index: u64,
}

/// A prompt with its number, or a row that cannot be used.
pub enum NextPrompt {
    /// The number counts usable prompts of the file from 0.
    Prompt(u64, Prompt),
    /// Reported, counted, and left out.
    Skipped(Skipped),
}

impl Prompts {
    /// The counts of the file so far.
    pub fn counts(&self) -> dataset::Counts {
        self.reader.counts()
    }
}

impl Iterator for Prompts {
    type Item = anyhow::Result<NextPrompt>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.index >= self.range.end {
                return None;
            }
            return Some(match self.reader.next() {
                Some(Ok(Row::Prompt(prompt))) => {
                    let number = self.index;
                    self.index += 1;
                    if number < self.range.start {
                        continue;
                    }
                    Ok(NextPrompt::Prompt(number, prompt))
                }
                Some(Ok(Row::Skipped(row))) => Ok(NextPrompt::Skipped(row)),
                Some(Err(error)) => Err(usage(error)),
                // What the reader knows of its rows decides whether the end is an error.
                None => match self.reader.require_rows() {
                    Ok(()) => return None,
                    Err(error) => {
                        self.range.end = 0;
                        Err(usage(error))
                    }
                },
            });
        }
    }
}

/// The chains of a run: every prompt, `samples` times.
pub struct Chains<'a> {
    prompts: Prompts,
    run_id: String,
    samples: u32,
    current: Option<(u64, Prompt)>,
    sample: u32,
    report: Box<dyn FnMut(&Skipped) + 'a>,
}

impl<'a> Chains<'a> {
    /// The chains of a run. `report` hears of rows that cannot be used.
    pub fn new(
        prompts: Prompts,
        run_id: &str,
        samples: u32,
        report: impl FnMut(&Skipped) + 'a,
    ) -> Self {
        Self {
            prompts,
            run_id: run_id.to_owned(),
            samples,
            current: None,
            sample: 0,
            report: Box::new(report),
        }
    }

    /// The counts of the prompt file so far.
    pub fn counts(&self) -> dataset::Counts {
        self.prompts.counts()
    }
}

impl Iterator for Chains<'_> {
    type Item = Result<ChainStart, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.current.is_none() || self.sample >= self.samples {
            match self.prompts.next()? {
                Ok(NextPrompt::Prompt(number, prompt)) => {
                    self.current = Some((number, prompt));
                    self.sample = 0;
                }
                Ok(NextPrompt::Skipped(row)) => (self.report)(&row),
                Err(error) => return Some(Err(error.into())),
            }
        }
        let (number, prompt) = self.current.as_ref()?;
        let sample = self.sample;
        self.sample += 1;
        Some(Ok(ChainStart {
            id: ChainId::new(&self.run_id, &prompt.id, sample),
            position: number * u64::from(self.samples) + u64::from(sample),
            prompt: prompt.clone(),
            sample,
        }))
    }
}

/// The options of a stored run.
pub fn stored_args(execution: &Value) -> anyhow::Result<JobArgs> {
    serde_json::from_value(execution.clone()).context(
        "the store does not hold the options of this run in a form that this version reads; give the whole `amend run` command again",
    )
}

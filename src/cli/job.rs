//! What a run needs, with everything resolved: from the options that the person typed to a plan, a
//! backend, prompts, and the configuration that tells the run apart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::backend::ModelIdentity;
use crate::constitution::{self, Constitution, Revise};
use crate::dataset::{self, ReadOptions, Skipped};
use crate::digest::Digest;
use crate::engine::config::RunConfig;
use crate::engine::machine::Plan;
use crate::engine::policy::Select;
use crate::generation::SamplingParams;
use crate::store::NewRun;
use crate::template::{CritiqueStyle, Pack};

use super::args::{ChainArgs, ModelArgs, PromptArgs, SamplingArgs, parse_limit};
use super::drafts::{self, DraftInput, DraftTasks};
use super::exit::usage;
use super::tasks::{Chains, NextPrompt, Prompts, Tasks};

/// Rounds, where neither command line nor pack nor constitution says how many.
const DEFAULT_ROUNDS: u32 = 2;

/// How much alike two names are, by Jaro and Winkler, of which one may be meant for the other.
const ALIKE: f64 = 0.8;

/// Everything that describes a run. Kept in the store, so that `resume` needs no options.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct JobArgs {
    /// The prompt file: .jsonl, .csv, .txt or .parquet
    pub prompts: Option<PathBuf>,
    /// Take prompts and drafts from this run, and write no drafts: its id, or the beginning of it
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["prompts", "samples", "prompt_field", "limit", "keep_duplicates", "strict"]
    )]
    #[serde(default)]
    pub drafts_from: Option<String>,
    /// Also run the prompts of this file, which are benign, to measure how many are refused; `amend gate` reports
    /// it, and its gate `control` keeps them out of datasets
    #[arg(long, value_name = "FILE", conflicts_with = "drafts_from")]
    #[serde(default)]
    pub controls: Option<PathBuf>,
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
    /// Where prompts come from.
    pub input: Input,
}

/// Where prompts come from.
pub enum Input {
    /// A prompt file.
    File {
        /// Its path.
        path: PathBuf,
        /// Its digest.
        digest: Digest,
        /// A file of control prompts, and its digest.
        controls: Option<(PathBuf, Digest)>,
    },
    /// The drafts of a stored run.
    Drafts(Box<DraftInput>),
}

impl Job {
    /// Reads and checks everything that needs no model. Every error is one of usage or input.
    pub fn prepare(args: JobArgs, db: &Path) -> anyhow::Result<Self> {
        let unreadable =
            |path: &Option<PathBuf>| path.clone().filter(|path| path.to_str().is_none());
        if let Some(path) = unreadable(&args.prompts).or_else(|| unreadable(&args.controls)) {
            bail!(usage(anyhow!(
                "{}: the path is not UTF-8; rename the file",
                path.display()
            )));
        }
        let mut args = absolute(args);
        let input = match (&args.drafts_from, &args.prompts) {
            (Some(run), _) => {
                let input = DraftInput::open(db, run)?;
                // The whole id: another run may begin alike by the time that this one is resumed.
                args.drafts_from = Some(input.drafts.run_id.clone());
                Input::Drafts(Box::new(input))
            }
            (None, Some(path)) => Input::File {
                digest: dataset::digest(path).map_err(usage)?,
                path: path.clone(),
                controls: controls(args.controls.as_deref())?,
            },
            (None, None) => bail!(usage(anyhow!(
                "there is nothing to respond to; name a prompt file, or a run with --drafts-from"
            ))),
        };
        let constitution = constitution::load(&args.chain.constitution)
            .map_err(usage)?
            .resolved
            .constitution;
        let pack = Pack::load(&args.chain.pack).map_err(usage)?;
        let plan = plan(&args, constitution, pack).map_err(usage)?;
        Ok(Self { args, plan, input })
    }

    /// Every prompt that the run takes, rows that cannot be used among them; those of drafts once a draft.
    pub fn prompts(
        &self,
    ) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<NextPrompt>> + Send>> {
        match &self.input {
            Input::File { path, controls, .. } => Ok(Box::new(self.read(path, controls.as_ref())?)),
            Input::Drafts(input) => {
                let prompts = (0..).zip(drafts::prompts(input)?);
                Ok(Box::new(prompts.map(|(number, prompt)| {
                    Ok(NextPrompt::Prompt(number, prompt?))
                })))
            }
        }
    }

    /// The chains of the run. `report` hears of rows that cannot be used.
    pub fn tasks<'a>(
        &self,
        run_id: &str,
        report: impl FnMut(&Skipped) + 'a,
    ) -> anyhow::Result<Tasks<'a>> {
        let plan = Arc::new(self.plan.clone());
        let samples = self.args.chain.samples;
        Ok(match &self.input {
            Input::File { path, controls, .. } => {
                let prompts = self.read(path, controls.as_ref())?;
                let chains = Chains::new(prompts, run_id, samples, plan, report);
                Tasks::File(Box::new(chains))
            }
            Input::Drafts(input) => Tasks::Drafts(DraftTasks {
                drafts: input.iter()?,
                run_id: run_id.to_owned(),
                plan,
            }),
        })
    }

    /// The prompt file, from its start, and the control prompts after it.
    fn read(&self, path: &Path, controls: Option<&(PathBuf, Digest)>) -> anyhow::Result<Prompts> {
        let reader = dataset::open(path, &self.read_options()).map_err(usage)?;
        // Control prompts come in a file of their own, whose columns are the usual ones.
        let plain = ReadOptions {
            strict: self.args.reading.strict,
            ..ReadOptions::default()
        };
        let controls = controls.map(|(path, _)| dataset::open(path, &plain));
        // The limit was parsed when the options were.
        let range = self
            .args
            .reading
            .limit
            .as_deref()
            .and_then(|l| parse_limit(l).ok());
        let range = range.unwrap_or(0..u64::MAX);
        Ok(Prompts::new(reader, range).and(controls.transpose().map_err(usage)?))
    }

    /// The prompt file as it was named, also where only its drafts are taken.
    pub fn prompts_path(&self) -> String {
        match &self.input {
            Input::File { path, .. } => path.display().to_string(),
            Input::Drafts(input) => input.prompts_path.clone(),
        }
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
        let reading = &self.args.reading;
        let from_file = RunConfig {
            prompts: self.prompts_digest(),
            prompts_kind: extension(Path::new(&self.prompts_path())),
            prompt_field: reading.prompt_field.clone(),
            limit: reading.limit.clone(),
            keep_duplicates: reading.keep_duplicates,
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
            adapters: plan.adapters.clone(),
            drafts: None,
            controls: self.controls_digest(),
            stress: None,
        };
        match &self.input {
            Input::File { .. } => from_file,
            // Which prompts there are was decided by the run that wrote the drafts.
            Input::Drafts(input) => RunConfig {
                prompt_field: input.config.prompt_field.clone(),
                limit: input.config.limit.clone(),
                keep_duplicates: input.config.keep_duplicates,
                samples: input.config.samples,
                drafts: Some(input.identity()),
                ..from_file
            },
        }
    }

    fn controls_digest(&self) -> Option<Digest> {
        match &self.input {
            Input::File { controls, .. } => controls.as_ref().map(|(_, digest)| digest.clone()),
            Input::Drafts(_) => None,
        }
    }

    /// A prompt file that holds something else by now than what the run is known by.
    pub fn changed_file(&self) -> Option<&Path> {
        let Input::File {
            path,
            digest,
            controls,
        } = &self.input
        else {
            return None;
        };
        let mut files = std::iter::once((path, digest)).chain(controls.iter().map(|(p, d)| (p, d)));
        // One that is gone was read to its end all the same.
        let changed = |(path, digest): &(&PathBuf, &Digest)| {
            dataset::digest(path).is_ok_and(|now| now != **digest)
        };
        files.find(changed).map(|(path, _)| path.as_path())
    }

    fn prompts_digest(&self) -> Digest {
        match &self.input {
            Input::File { digest, .. } => digest.clone(),
            Input::Drafts(input) => input.config.prompts.clone(),
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
            prompts_path: self.prompts_path(),
            prompts_digest: self.prompts_digest(),
            versions: versions(),
            execution: serde_json::to_value(&self.args)?,
        })
    }
}

/// The file of control prompts with its digest.
fn controls(path: Option<&Path>) -> anyhow::Result<Option<(PathBuf, Digest)>> {
    let Some(path) = path else { return Ok(None) };
    let digest = dataset::digest(path).map_err(usage)?;
    Ok(Some((path.to_owned(), digest)))
}

/// The extension that decides how a prompt file is read.
fn extension(path: &Path) -> String {
    path.extension()
        .map(|e| e.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default()
}

/// Versions of this program and of what it runs models with.
pub fn versions() -> Value {
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
    args.prompts = args.prompts.as_deref().map(full);
    args.controls = args.controls.as_deref().map(full);
    // A folder may happen to have the name of one that comes with this program.
    let is_folder = Path::new(&args.chain.constitution).is_dir();
    args.chain.constitution = file(&args.chain.constitution, is_folder);
    let pack = &args.chain.pack;
    args.chain.pack = file(pack, Pack::builtin_names().any(|name| name == pack));
    let model = &args.model.model;
    // The model of a server is a name there.
    let name =
        model == "default" || model.starts_with("hf:") || args.model.endpoint.endpoint.is_some();
    args.model.model = file(model, name);
    args.model.script = args.model.script.as_deref().map(full);
    args.model.lora.absolute(full);
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
        adapters: args.model.lora.resolve()?.roles,
        constitution,
        pack,
    };
    if let Select::Ids(ids) = &plan.select {
        if ids.is_empty() {
            bail!("--select names no principle; use `sample`, `all`, or ids separated by commas");
        }
        check_ids("--select", ids, &plan.constitution)?;
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

/// Sampling settings: command line before pack before program.
pub fn sampling(args: &SamplingArgs, pack: &Pack) -> SamplingParams {
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

/// Refuses ids that the constitution does not have. `option` is what named them.
pub fn check_ids(option: &str, ids: &[String], constitution: &Constitution) -> anyhow::Result<()> {
    for id in ids {
        if constitution.principle(id).is_none() {
            let ids = || constitution.principles.iter().map(|p| p.id.as_str());
            let near = ids()
                .map(|other| (strsim::jaro_winkler(&id.to_lowercase(), other), other))
                .filter(|(likeness, _)| *likeness >= ALIKE)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let remedy = match near {
                Some((_, near)) => format!("did you mean `{near}`?"),
                None => format!("there are {}", ids().collect::<Vec<_>>().join(", ")),
            };
            bail!(
                "{option}: the constitution `{}` has no principle `{id}`; {remedy}",
                constitution.name
            );
        }
    }
    Ok(())
}

/// The options of a stored run.
pub fn stored_args(execution: &Value) -> anyhow::Result<JobArgs> {
    serde_json::from_value(execution.clone()).context(
        "the store does not hold the options of this run in a form that this version reads; give the whole `amend run` command again",
    )
}

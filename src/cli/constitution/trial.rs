//! What `test`, `try` and `stress` share: how verdicts are asked for outside a run.

use std::path::Path;

use anyhow::{anyhow, bail};

use crate::cli::args::{ModelArgs, SamplingArgs, share};
use crate::cli::backend::{self, Hints, Loaded};
use crate::cli::exit::usage;
use crate::cli::job;
use crate::constitution::{self, Constitution, Revise};
use crate::engine::machine::Plan;
use crate::engine::policy::Select;
use crate::store::Writer;
use crate::template::{CritiqueStyle, Pack};

/// How verdicts are asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct TrialArgs {
    /// The prompt pack: `default`, or a folder; it must ask for verdicts
    #[arg(long, default_value = "default", value_name = "PACK")]
    pub pack: String,
    /// Least P(violated) that counts as violated
    #[arg(long, default_value_t = 0.5, value_name = "P", value_parser = share)]
    pub threshold: f64,
    /// Make results independent of what else is decoded at the same time; slower
    #[arg(long)]
    pub deterministic: bool,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub model: ModelArgs,
}

impl TrialArgs {
    /// What a chain follows: one round, revisions after violated verdicts. Every error is one of input.
    pub fn plan(&self, constitution: Constitution) -> anyhow::Result<Plan> {
        let pack = Pack::load(&self.pack).map_err(usage)?;
        if pack.critique == CritiqueStyle::Prose {
            bail!(usage(anyhow!(
                "the pack `{}` asks for critiques in prose, which hold no verdict; use --pack default, or another pack with verdicts",
                pack.name
            )));
        }
        Ok(Plan {
            select: Select::All,
            rounds: 1,
            revise: Revise::WhenViolated,
            recheck: false,
            threshold: self.threshold,
            sampling: job::sampling(&self.sampling, &pack),
            seed: self.sampling.seed,
            adapters: self.model.lora.resolve()?.roles,
            constitution,
            pack,
        })
    }

    /// The model, or what stands in for it.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        backend::load(&self.model, self.deterministic, Hints::default())
    }
}

/// A constitution by name or path; an error is one of input.
pub fn read(name_or_path: &str) -> anyhow::Result<constitution::Loaded> {
    constitution::load(name_or_path).map_err(usage)
}

/// Refuses ids that the constitution does not have.
pub fn check_ids(ids: &[String], constitution: &Constitution) -> anyhow::Result<()> {
    job::check_ids("--principle", ids, constitution).map_err(usage)
}

/// Opens the store for writing, after the model is loaded; a store that cannot be used is told before.
pub fn store_before_model(db: &Path) -> anyhow::Result<()> {
    Writer::check(db).map_err(crate::cli::runs::failed)
}

/// The store that keeps replies and results.
pub fn store(db: &Path) -> anyhow::Result<Writer> {
    Writer::open(db).map_err(crate::cli::runs::failed)
}

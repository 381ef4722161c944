//! Answers and verdicts as runs of the store: one run of drafts for each side and suite, and one of verdicts
//! over these drafts.
//!
//! They are runs like any other, so they are resumed by asking again, a side that was measured before is not
//! answered anew, and every command reads them.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::cli::args::{ChainArgs, ModelArgs, PromptArgs, SamplingArgs};
use crate::cli::backend::Loaded;
use crate::cli::exit::say;
use crate::cli::job::{Job, JobArgs};
use crate::cli::progress::Progress;
use crate::cli::run::{engine_error, store_error};
use crate::cli::text::plural;
use crate::constitution::Revise;
use crate::engine::{self, EngineOptions};
use crate::store::{Filter, RunLock, RunState, Store, Writer};

use super::suites::Suite;

/// What all runs of an evaluation have in common.
pub struct Common<'a> {
    /// The store.
    pub db: &'a Path,
    /// What chains do.
    pub chain: &'a ChainArgs,
    /// How tokens are drawn.
    pub sampling: &'a SamplingArgs,
    /// How prompt files are read.
    pub reading: &'a PromptArgs,
    /// Set when the person wants it to end.
    pub interrupted: &'a AtomicBool,
}

/// How a run went.
pub struct Done {
    /// Its id.
    pub run_id: String,
    /// Chains that failed.
    pub failed: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl Common<'_> {
    /// The answers of a side to a suite.
    pub fn answers(&self, suite: &Suite, model: &ModelArgs) -> anyhow::Result<Job> {
        let args = JobArgs {
            prompts: Some(suite.path.clone()),
            drafts_from: None,
            controls: None,
            chain: ChainArgs {
                rounds: Some(0),
                select: None,
                revise: None,
                recheck: false,
                ..self.chain.clone()
            },
            sampling: self.sampling.clone(),
            reading: self.reading.clone(),
            model: model.clone(),
        };
        Job::prepare(args, self.db)
    }

    /// How many answers a run holds; the first chain's error where there is none.
    pub fn count(&self, answers: &str) -> anyhow::Result<Result<u64, String>> {
        let store = Store::open_read(self.db).map_err(store_error)?;
        let drafts = store.drafts(answers).map_err(store_error)?;
        if !drafts.chains.is_empty() {
            return Ok(Ok(drafts.chains.len() as u64));
        }
        let first = store
            .for_each_chain(&Filter::all(), Some(answers), |chain| match chain.error {
                Some(error) => ControlFlow::Break(error),
                None => ControlFlow::Continue(()),
            })
            .map_err(store_error)?;
        Ok(Err(match first {
            ControlFlow::Break(error) => error,
            ControlFlow::Continue(()) => "no chain has ended".to_owned(),
        }))
    }

    /// The judge's verdicts on the answers of a run, every principle asked about once.
    pub fn verdicts(&self, answers: &str, judge: &ModelArgs) -> anyhow::Result<Job> {
        let args = JobArgs {
            prompts: None,
            drafts_from: Some(answers.to_owned()),
            controls: None,
            chain: ChainArgs {
                rounds: Some(1),
                revise: Some(Revise::Never),
                recheck: false,
                select: Some(
                    self.chain
                        .select
                        .clone()
                        .unwrap_or_else(|| "all".to_owned()),
                ),
                ..self.chain.clone()
            },
            sampling: self.sampling.clone(),
            reading: self.reading.clone(),
            model: judge.clone(),
        };
        Job::prepare(args, self.db)
    }

    /// Runs a job to its end, or until it is interrupted. `what` tells the person which one it is.
    pub fn run(&self, job: &Job, loaded: &Loaded, chains: u64, what: &str) -> anyhow::Result<Done> {
        let config = job.config(loaded.backend().identity());
        let run_id = config.run_id();
        let mut writer = Writer::open(self.db).map_err(store_error)?;
        let _lock = RunLock::acquire(self.db, &run_id).map_err(store_error)?;
        writer
            .begin_run(&job.record(&config, loaded.backend().identity())?)
            .map_err(store_error)?;
        say(&format!(
            "{what}: {}, run {run_id}",
            plural(chains, "chain")
        ));
        let progress = Progress::start(false)?;
        progress.total()(chains);
        // What cannot be used was told when the suite was read.
        let mut tasks = job.tasks(&run_id, |_| {})?;
        let options = EngineOptions {
            parallel: loaded.backend().parallelism(),
            retry_failed: true,
        };
        let outcome = engine::run(
            loaded.backend(),
            &mut writer,
            &mut tasks,
            options,
            self.interrupted,
            &mut |event| drop(progress.take(&event)),
        );
        drop(progress);
        let state = match &outcome {
            Ok(summary) if !summary.interrupted => RunState::Done,
            _ => RunState::Interrupted,
        };
        let closed = writer.set_run_state(state).map_err(store_error);
        let summary = outcome.map_err(|error| engine_error(error, "the same command"))?;
        closed?;
        Ok(Done {
            run_id,
            failed: summary.failed + summary.skipped_failed,
            interrupted: summary.interrupted,
        })
    }
}

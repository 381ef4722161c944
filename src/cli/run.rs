//! `amend run` and `amend resume`.

mod failures;
mod report;

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use crate::backend::BackendError;
use crate::engine::config::{RunConfig, differences};
use crate::engine::{self, EngineOptions};
use crate::store::{RunDetail, RunLock, RunRow, RunState, Store, Writer};

use super::args::{BackendKind, GpuLayers, ModelArgs};
use super::backend::Loaded;
use super::constitution::STRESS_PROMPTS;
use super::dry_run;
use super::exit::{say, usage};
use super::job::{Input, Job, JobArgs, stored_args};
use super::progress::Progress;
use super::signals;
use super::stdout::Printed;
use super::tasks::NextPrompt;
use super::{DbArg, Exit, stdout};
use failures::Failures;
use report::{Report, resume_command};

/// Rows that cannot be used, and chains that fail, are named one by one up to here, and counted beyond.
const NAMED_ROWS: u32 = 50;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend run prompts.jsonl -c constitutions/hhh.yaml
  amend run prompts.csv --prompt-field question -m hf:bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M
  amend run prompts.jsonl --pack paper --samples 2 --limit 100
  amend run prompts.jsonl --select say-what-is-true,admit-uncertainty --recheck --dry-run
  amend run prompts.jsonl --endpoint http://127.0.0.1:8080 --parallel 16
  amend run --drafts-from 3k9 -c other.yaml    another constitution on the drafts of a run

The same command again, or `amend resume`, continues an interrupted run; with --resume it does nothing else.")]
pub struct RunArgs {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    db: DbArg,
    /// Begin a new run even where an unfinished one differs from it
    #[arg(long)]
    new: bool,
    /// Only continue a run that was begun before, and begin none
    #[arg(long, conflicts_with_all = ["new", "dry_run"])]
    resume: bool,
    /// Begin again the chains that failed
    #[arg(long, conflicts_with = "dry_run")]
    retry_errors: bool,
    /// Say what would be done and how long it would take, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Write one JSON line per step and chain to stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend resume                      the latest unfinished run in amend.db
  amend resume 3k9 --db other.db    the run whose id begins with 3k9
  amend resume --retry-errors       also begin again the chains that failed")]
pub struct ResumeArgs {
    /// The run, by any unambiguous prefix of its id [default: the latest that is unfinished]
    run: Option<String>,
    #[command(flatten)]
    db: DbArg,
    /// Begin again the chains that failed
    #[arg(long)]
    retry_errors: bool,
    /// Chains in flight, where it is to differ from before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: Option<u16>,
    /// Threads, where they are to differ from before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// The model file, where it has moved
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// The server, where it has moved
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Write one JSON line per step and chain to stdout
    #[arg(long)]
    json: bool,
}

/// Runs `amend run`.
pub fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let job = Job::prepare(args.job, &args.db.db)?;
    require_prompt(&job)?;
    if args.dry_run {
        let loaded = job.load()?;
        return dry_run::run(&job, &loaded, args.json);
    }
    if args.resume {
        drop(Store::open_read(&args.db.db).map_err(store_error)?);
    }
    // A store that cannot be used is told before a model is loaded; one that is not there is made after.
    Writer::check(&args.db.db).map_err(store_error)?;
    let loaded = job.load()?;
    let mut writer = open(&args.db)?;
    let config = job.config(loaded.backend().identity());
    if !args.new {
        refuse_other(&args.db, &job, &config, args.resume)?;
    }
    if args.resume {
        require_begun(&args.db, &config)?;
    }
    execute(
        &mut writer,
        &job,
        &loaded,
        &config,
        &args.db,
        args.retry_errors,
        args.json,
    )
}

/// Runs `amend resume`.
pub fn resume(args: ResumeArgs) -> anyhow::Result<Exit> {
    let (row, detail) = {
        let store = Store::open_read(&args.db.db).map_err(store_error)?;
        let Some(row) = pick(&store, &args)? else {
            say(&format!(
                "nothing to resume: every run in {} is done",
                args.db.db.display()
            ));
            return Ok(Exit::Done);
        };
        let detail = store.run(&row.run_id).map_err(store_error)?;
        (row, detail)
    };
    if !detail.config["stress"].is_null() {
        bail!(usage(anyhow!(
            "run {} was made by `amend constitution stress`; the same command goes on from what is kept",
            row.run_id
        )));
    }
    let (then, now) = (detail.versions["amend"].as_str(), env!("CARGO_PKG_VERSION"));
    if then != Some(now) {
        say(&format!(
            "note: run {} was begun by amend {}; this is {now}",
            row.run_id,
            then.unwrap_or("of an unknown version")
        ));
    }
    let mut job_args = stored_args(&detail.execution)?;
    if job_args.chain.deterministic && job_args.model.backend == BackendKind::Llama {
        keep_layers(&mut job_args.model, &detail.config["model_settings"]);
    }
    if args.parallel.is_some() {
        job_args.model.parallel = args.parallel;
    }
    if args.threads.is_some() {
        job_args.model.threads = args.threads;
    }
    if let Some(model) = &args.model {
        job_args.model.model.clone_from(model);
        job_args.model.hf_repo = None;
    }
    if args.endpoint.is_some() {
        job_args.model.endpoint.endpoint.clone_from(&args.endpoint);
    }
    let job = Job::prepare(job_args, &args.db.db)
        .with_context(|| format!("run {} cannot be continued", row.run_id))?;
    let mut writer = open(&args.db)?;
    let loaded = job.load()?;
    let config = job.config(loaded.backend().identity());
    let now = serde_json::to_value(&config)?;
    if config.run_id() != row.run_id {
        bail!(usage(anyhow!(
            "run {} was begun with another configuration:\n{}\nput back what it was, or begin a new run with `amend run … --new`",
            row.run_id,
            list(&detail, &job, &now)
        )));
    }
    execute(
        &mut writer,
        &job,
        &loaded,
        &config,
        &args.db,
        args.retry_errors,
        args.json,
    )
}

/// Asks for the layers on a GPU that a run was begun with: which ones fit depends on what is free there now.
fn keep_layers(model: &mut ModelArgs, settings: &Value) {
    if model.n_gpu_layers.and_then(GpuLayers::asked).is_some() {
        return;
    }
    // No layer is not among the settings, so that it is the same as no GPU.
    let stored = settings["gpu_layers"].as_str().unwrap_or("0");
    model.n_gpu_layers = GpuLayers::parse(stored).ok();
}

fn open(db: &DbArg) -> anyhow::Result<Writer> {
    Writer::open(&db.db).map_err(store_error)
}

/// An error of the store; one that says that the file is not a store is one of input.
pub fn store_error(error: crate::store::StoreError) -> anyhow::Error {
    if error.is_input() {
        usage(error)
    } else {
        error.into()
    }
}

/// Reads up to the first usable prompt, so that a file without one is refused before anything is made. Where
/// there are control prompts it reads all, since any prompt may have an id that belongs to them.
fn require_prompt(job: &Job) -> anyhow::Result<()> {
    let mut found = false;
    for prompt in job.prompts()? {
        found |= matches!(prompt?, NextPrompt::Prompt(..));
        if found && job.args.controls.is_none() {
            break;
        }
    }
    if found {
        return Ok(());
    }
    bail!(usage(anyhow!(
        "--limit leaves no prompt: the file has fewer usable rows"
    )))
}

/// The run to resume: the one that is named, or the latest with something left to do.
fn pick(store: &Store, args: &ResumeArgs) -> anyhow::Result<Option<RunRow>> {
    let runs = store.runs().map_err(store_error)?;
    if let Some(prefix) = &args.run {
        let id = store.resolve_run(prefix).map_err(usage)?;
        return Ok(runs.into_iter().find(|run| run.run_id == id));
    }
    Ok(runs
        .into_iter()
        .rev()
        // Only its own command can continue a stress test.
        .filter(|run| run.prompts_path != STRESS_PROMPTS)
        .find(|run| run.state != RunState::Done || (args.retry_errors && run.failed > 0)))
}

/// Refuses to begin a run beside an unfinished one over the same prompts that differs from it: the
/// person most likely means to continue.
fn refuse_other(db: &DbArg, job: &Job, config: &RunConfig, resume: bool) -> anyhow::Result<()> {
    let store = Store::open_read(&db.db).map_err(store_error)?;
    let path = job.prompts_path();
    let source = match &job.input {
        Input::File { .. } => None,
        Input::Drafts(input) => Some(&input.drafts.run_id),
    };
    let (id, now) = (config.run_id(), serde_json::to_value(config)?);
    let runs = store.runs().map_err(store_error)?;
    // The very same run is continued, whatever else there is.
    if runs.iter().any(|run| run.run_id == id) {
        return Ok(());
    }
    let other = runs
        .iter()
        .rev()
        // The run that wrote the drafts may go on later.
        .filter(|run| Some(&run.run_id) != source)
        .find(|run| run.state != RunState::Done && run.prompts_path == path);
    let Some(other) = other else { return Ok(()) };
    let stored = store.run(&other.run_id).map_err(store_error)?;
    let instead = if resume { " in place of --resume" } else { "" };
    bail!(usage(anyhow!(
        "run {id} in {db} is unfinished and has another configuration:\n{list}\n\
         to continue it as it was:  amend resume {id} --db {db}\n\
         to begin a new run:        give the same command with --new{instead}",
        id = other.run_id,
        db = db.db.display(),
        list = list(&stored, job, &now),
    )));
}

/// Refuses to begin a run where one was to be continued.
fn require_begun(db: &DbArg, config: &RunConfig) -> anyhow::Result<()> {
    let store = Store::open_read(&db.db).map_err(store_error)?;
    let (id, runs) = (config.run_id(), store.runs().map_err(store_error)?);
    if runs.iter().any(|run| run.run_id == id) {
        return Ok(());
    }
    bail!(usage(anyhow!(
        "--resume: {} holds no run of this configuration; leave it out to begin one (`amend runs` lists those that are there)",
        db.db.display()
    )))
}

/// The settings in which a stored run and this one differ, and within a constitution the principles.
fn list(stored: &RunDetail, job: &Job, now: &Value) -> String {
    let mut lines: Vec<_> = differences(&stored.config, now)
        .into_iter()
        .map(|d| format!("  {}: {} in the store, {} now", d.setting, d.stored, d.now))
        .collect();
    let (old, new) = (&stored.constitution, &job.plan.constitution);
    let ids = old.principles.iter().chain(
        new.principles
            .iter()
            .filter(|p| old.principle(&p.id).is_none()),
    );
    for id in ids.map(|principle| &principle.id) {
        match (old.principle(id), new.principle(id)) {
            (Some(_), None) => lines.push(format!("    principle {id}: only in the store")),
            (None, Some(_)) => lines.push(format!("    principle {id}: only now")),
            (a, b) if a != b => lines.push(format!("    principle {id}: changed")),
            _ => {}
        }
    }
    lines.join("\n")
}

/// Runs or continues a run to its end.
fn execute(
    writer: &mut Writer,
    job: &Job,
    loaded: &Loaded,
    config: &RunConfig,
    db: &DbArg,
    retry_failed: bool,
    json: bool,
) -> anyhow::Result<Exit> {
    let id = config.run_id();
    let _lock = RunLock::acquire(&db.db, &id).map_err(store_error)?;
    writer
        .begin_run(&job.record(config, loaded.backend().identity())?)
        .map_err(store_error)?;
    let mut printed = Printed::default();
    if json {
        printed.note(|| stdout::line(&json!({ "event": "run", "run_id": id })));
    }
    let progress = Progress::start(json)?;
    count_chains(job, progress.total());
    let resume = resume_command(&id, &db.db, retry_failed);
    let interrupted = signals::interruption(
        "finishing the steps in flight; press Ctrl-C again to leave at once",
        &format!("left at once; continue with: {resume}"),
    )?;
    let named = AtomicU32::new(0);
    if let Input::Drafts(input) = &job.input
        && input.drafts.without > 0
    {
        progress.say(&format!(
            "left out: {} chains of run {} have no draft",
            input.drafts.without, input.drafts.run_id
        ));
    }
    let mut chains = job.tasks(&id, |row| match named.fetch_add(1, Ordering::Relaxed) {
        n if n < NAMED_ROWS => progress.say(&format!("skipped: {row}")),
        NAMED_ROWS => progress.say("skipped: more rows, which are only counted from here on"),
        _ => {}
    })?;
    let mut failures = Failures::new(chains.place());
    let options = EngineOptions {
        parallel: loaded.backend().parallelism(),
        retry_failed,
    };
    let outcome = engine::run(
        loaded.backend(),
        writer,
        &mut chains,
        options,
        &interrupted,
        &mut |event| {
            if let Some(line) = failures.take(&event) {
                progress.say(&line);
            }
            if let Some(line) = progress.take(&event) {
                printed.note(|| stdout::line(&line));
            }
        },
    );
    let state = match &outcome {
        Ok(summary) if summary.complete => RunState::Done,
        _ => RunState::Interrupted,
    };
    // The first error is the one to tell.
    let closed = writer.set_run_state(state).map_err(store_error);
    let counts = chains.counts();
    drop(chains);
    let (figures, elapsed) = progress.figures();
    drop(progress);
    let summary = outcome.map_err(|error| engine_error(error, &resume))?;
    closed?;
    if let Some(path) = job.changed_file() {
        say(&format!(
            "note: {} was changed while it was read, so some prompts of run {id} may be those of the new version; \
             `amend run` with it as it is now begins another run",
            path.display()
        ));
    }
    let report = Report {
        id: &id,
        db: &db.db,
        summary,
        figures,
        elapsed,
        counts,
        loaded,
        resume: &resume,
    };
    printed.note(|| if json { report.json() } else { report.print() });
    if summary.interrupted && (json || printed.is_lost()) {
        say(&format!("run {id} interrupted; continue with: {resume}"));
    }
    printed
        .finish()
        .with_context(|| format!("run {id} is kept in {}", db.db.display()))?;
    Ok(report.exit())
}

/// An error of the engine; one of the prompt file keeps its exit code.
pub fn engine_error(error: engine::EngineError, resume: &str) -> anyhow::Error {
    match error {
        engine::EngineError::Backend(error @ BackendError::Unreachable(_)) => {
            anyhow!("{error}; what was done is kept, continue with: {resume}")
        }
        engine::EngineError::Prompts(error) => usage(anyhow!("{error}; what was done is kept")),
        error => error.into(),
    }
}

/// Counts the chains of a run beside it, for the display.
fn count_chains(job: &Job, total: impl Fn(u64) + Send + 'static) {
    let Ok(prompts) = job.prompts() else { return };
    let samples = u64::from(job.args.chain.samples);
    std::thread::spawn(move || {
        // Reading is all it does; a file that breaks half-way is reported by the run itself.
        let count = prompts
            .filter(|p| matches!(p, Ok(NextPrompt::Prompt(..))))
            .count() as u64;
        total(count * samples);
    });
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Model {
        #[command(flatten)]
        args: ModelArgs,
    }

    #[test]
    fn a_run_goes_on_with_the_layers_that_it_was_begun_with() {
        let layers = |given: &[&str], settings: Value| {
            let given = [&["amend"], given].concat();
            let mut model = Model::parse_from(given).args;
            keep_layers(&mut model, &settings);
            model.n_gpu_layers
        };
        let all = json!({ "gpu_layers": "all" });
        assert_eq!(layers(&[], all.clone()), Some(GpuLayers::All));
        let auto = ["--n-gpu-layers", "auto"];
        assert_eq!(layers(&auto, all.clone()), Some(GpuLayers::All));
        let some = json!({ "gpu_layers": "17" });
        assert_eq!(layers(&[], some), Some(GpuLayers::Count(17)));
        assert_eq!(layers(&[], json!({})), Some(GpuLayers::Count(0)));
        let three = ["--n-gpu-layers", "3"];
        assert_eq!(layers(&three, all), Some(GpuLayers::Count(3)));
    }
}

//! `amend constitution test`.

mod history;
mod junit;
mod page;
mod watch;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::trial::{self, TrialArgs};
use crate::cli::args::share;
use crate::cli::backend::Loaded;
use crate::cli::exit::{say, usage};
use crate::cli::{DbArg, Exit, job, signals, stdout};
use crate::constitution::{Constitution, Resolved};
use crate::engine::machine::Plan;
use crate::evaluation::{Report, Suite, TestResult};
use crate::store::{NewTestRun, Writer};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution test hhh                                  every test of every principle
  amend constitution test mine.yaml --principle plain-words    those of one principle
  amend constitution test mine.yaml --watch                    again whenever the file is saved
  amend constitution test mine.yaml --history                  accuracy by wording, so far
  amend constitution test mine.yaml --min-accuracy 0.8 --format junit > report.xml

Ends with 4 when the accuracy is below --min-accuracy, and with 3 when a test failed with an error.
Replies are kept in the store, so that only what was changed is asked again.")]
pub struct Args {
    /// The constitution: a YAML file, or the name of one that comes with this program
    #[arg(value_name = "FILE")]
    constitution: String,
    /// Only the tests of these principles
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    principle: Vec<String>,
    /// Run each test N times, with other seeds
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Least share of correct verdicts; below it the command ends with code 4
    #[arg(long, value_name = "X", value_parser = share)]
    min_accuracy: Option<f64>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    /// Run again the tests of principles that have changed whenever the file is saved
    #[arg(long, conflicts_with = "history")]
    watch: bool,
    /// Print how accuracy went from wording to wording, and run nothing
    #[arg(long, conflicts_with_all = ["principle", "repeat", "min_accuracy"])]
    history: bool,
    #[command(flatten)]
    trial: TrialArgs,
    #[command(flatten)]
    db: DbArg,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for people.
    Text,
    /// One JSON object.
    Json,
    /// JUnit XML, as build servers read it.
    Junit,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    if args.history {
        return history::run(&args);
    }
    if args.watch {
        return watch::run(&args);
    }
    let loaded = trial::read(&args.constitution)?;
    let source = loaded.source.to_string();
    let plan = prepare(&args, &loaded.resolved.constitution)?;
    let Some(mut bench) = Bench::open(&args)? else {
        return Ok(Exit::Interrupted);
    };
    let Some(report) = bench.test(&plan)? else {
        say("interrupted; replies are kept, and the same command goes on from them");
        return Ok(Exit::Interrupted);
    };
    let shown = Shown {
        source: &source,
        args: &args,
        plan: &plan,
        bench: &bench,
        report: &report,
    };
    stdout::or_closed(shown.print(None))?;
    Ok(shown.exit())
}

/// Checks everything that needs no model.
fn prepare(args: &Args, constitution: &Constitution) -> anyhow::Result<Plan> {
    trial::check_ids(&args.principle, constitution)?;
    let plan = args.trial.plan(constitution.clone())?;
    if suite(args, &plan).is_empty() {
        bail!(usage(anyhow!(
            "{}: there is no test to run; give {} `tests:` with a prompt, a response and what to expect",
            args.constitution,
            if args.principle.is_empty() {
                "its principles"
            } else {
                "the principle"
            }
        )));
    }
    Ok(plan)
}

fn suite(args: &Args, plan: &Plan) -> Suite {
    let only = (!args.principle.is_empty()).then_some(args.principle.as_slice());
    Suite::new(plan, only, args.repeat)
}

/// A loaded model and an open store: what stays from one round of tests to the next.
struct Bench<'a> {
    args: &'a Args,
    loaded: Loaded,
    writer: Writer,
    interrupted: Arc<AtomicBool>,
}

impl<'a> Bench<'a> {
    /// Loads the model and opens the store. `None` when the person interrupted that.
    fn open(args: &'a Args) -> anyhow::Result<Option<Self>> {
        trial::store_before_model(&args.db.db)?;
        let interrupted = signals::interruption("", "left at once")?;
        let loaded = args.trial.load()?;
        if interrupted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        Ok(Some(Self {
            args,
            loaded,
            writer: trial::store(&args.db.db)?,
            interrupted,
        }))
    }

    /// Runs the tests and keeps their results. `None` when the person interrupted it.
    fn test(&mut self, plan: &Plan) -> anyhow::Result<Option<Report>> {
        let suite = suite(self.args, plan);
        let bar = bar(suite.len() as u64);
        let results = suite.run(
            self.loaded.backend(),
            &mut self.writer,
            &self.interrupted,
            &mut || bar.inc(1),
        );
        bar.finish_and_clear();
        let Some(results) = results? else {
            return Ok(None);
        };
        let record = record(plan, &self.loaded);
        self.writer
            .record_tests(&record, &results)
            .map_err(crate::cli::runs::failed)?;
        Ok(Some(Report::new(&plan.constitution, results)))
    }
}

/// A bar on stderr, where that is a terminal.
fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} tests");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn record(plan: &Plan, loaded: &Loaded) -> NewTestRun {
    let mut config = json!({
        "threshold": plan.threshold,
        "sampling": plan.sampling,
        "seed": plan.seed,
    });
    if !plan.adapters.is_empty() {
        config["adapters"] = json!(plan.adapters);
    }
    NewTestRun {
        constitution: plan.constitution.clone(),
        pack_name: plan.pack.name.clone(),
        pack_text: plan.pack.text().to_owned(),
        pack_digest: plan.pack.digest(),
        model: loaded.backend().identity().clone(),
        config,
        versions: job::versions(),
    }
}

/// A report with what it is about.
struct Shown<'a> {
    source: &'a str,
    args: &'a Args,
    plan: &'a Plan,
    bench: &'a Bench<'a>,
    report: &'a Report,
}

impl Shown<'_> {
    /// Prints the report; with `only`, in text, just these principles and the figures of all.
    fn print(&self, only: Option<&[String]>) -> io::Result<()> {
        let data = match self.args.format {
            Format::Text => {
                let mut out = stdout::styled();
                out.write_all(page::render(self, only).as_bytes())?;
                return out.flush();
            }
            Format::Json => format!("{}\n", self.json()),
            Format::Junit => junit::render(self),
        };
        let mut out = stdout::raw();
        out.write_all(data.as_bytes())?;
        out.flush()
    }

    fn json(&self) -> Value {
        let (plan, report) = (self.plan, self.report);
        let identity = self.bench.loaded.backend().identity();
        json!({
            "constitution": {
                "source": self.source,
                "name": plan.constitution.name,
                "version": plan.constitution.version,
                "digest": plan.constitution.digest(),
            },
            "model": { "name": identity.name, "digest": identity.digest },
            "pack": { "name": plan.pack.name, "digest": plan.pack.digest() },
            "threshold": plan.threshold,
            "seed": plan.seed,
            "repeat": self.args.repeat,
            "overall": report.overall,
            "judged": report.judged,
            "principles": report.principles,
            "untested": report.untested,
            "min_accuracy": self.args.min_accuracy,
            "passed": self.exit() == Exit::Done,
            "calls": self.calls(),
        })
    }

    fn results(&self) -> impl Iterator<Item = &TestResult> {
        self.report.principles.iter().flat_map(|p| &p.results)
    }

    fn calls(&self) -> Calls {
        let mut calls = Calls::default();
        for call in self.results().flat_map(|result| &result.calls) {
            if call.reused {
                calls.reused += 1;
                continue;
            }
            let usage = &call.generation.usage;
            calls.made += 1;
            calls.prompt_tokens += u64::from(usage.prompt_tokens);
            calls.cached_tokens += u64::from(usage.cached_tokens);
            calls.completion_tokens += u64::from(usage.completion_tokens);
        }
        calls
    }

    fn below(&self) -> bool {
        let accuracy = self.report.overall.figures.accuracy.unwrap_or(0.0);
        self.args.min_accuracy.is_some_and(|least| accuracy < least)
    }

    fn exit(&self) -> Exit {
        if self.below() {
            Exit::CheckFailed
        } else if self.report.overall.figures.errors > 0 {
            Exit::SomeFailed
        } else {
            Exit::Done
        }
    }
}

/// What the tests cost.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
struct Calls {
    /// Model calls that were made.
    made: u64,
    /// Calls that were answered from the store.
    reused: u64,
    /// Tokens of the requests of the calls that were made.
    prompt_tokens: u64,
    /// How many of them were in the KV cache.
    cached_tokens: u64,
    /// Tokens of their replies.
    completion_tokens: u64,
}

/// Principles of `now` that are not in `before` as they are, by id.
fn changed(before: &Constitution, now: &Resolved) -> Vec<String> {
    let renamed = before.name != now.constitution.name;
    let principles = now.constitution.principles.iter();
    principles
        .filter(|p| renamed || before.principle(&p.id) != Some(p))
        .map(|p| p.id.clone())
        .collect()
}

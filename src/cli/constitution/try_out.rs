//! `amend constitution try`: one principle on one prompt, for someone who tunes its words.

mod page;

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::anyhow;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::trial::{self, TrialArgs};
use crate::chain::Step;
use crate::cli::backend::Loaded;
use crate::cli::exit::{say, usage};
use crate::cli::stdout::{self, Printed};
use crate::cli::{Exit, signals};
use crate::engine::machine::Plan;
use crate::engine::memory::{Memory, Outcome};
use crate::engine::policy::Select;
use crate::engine::{self, EngineOptions};
use crate::evaluation::trial_of;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution try mine.yaml --principle plain-words --prompt 'What is inflation?'
  amend constitution try mine.yaml --principle plain-words --prompt 'What is inflation?' --response 'A drift.'
  amend constitution try mine.yaml --principle plain-words    asks for prompts, one after the other

Without --prompt, prompts are read from the terminal, and the file is read again before each: change its words
in an editor, save, and press Enter to try the same prompt again. Nothing is kept: its words are about to
change. What is to last is a test, or a run.")]
pub struct Args {
    /// The constitution: a YAML file, or the name of one that comes with this program
    #[arg(value_name = "FILE")]
    constitution: String,
    /// The principle to try
    #[arg(long, value_name = "ID")]
    principle: String,
    /// What is asked; without it, prompts are asked for
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// What is judged; without it, the model drafts a response
    #[arg(long, value_name = "TEXT")]
    response: Option<String>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    trial: TrialArgs,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Texts, verdict and diff for people.
    Text,
    /// One JSON object a line, one for each prompt.
    Json,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    prepare(&args)?;
    if let Some(prompt) = &args.prompt
        && prompt.trim().is_empty()
    {
        return Err(usage(anyhow!("--prompt is empty; give it a text")));
    }
    let interrupted = signals::leave_on_interrupt()?;
    let bench = Bench {
        loaded: args.trial.load()?,
        args: &args,
        interrupted,
    };
    let mut printed = Printed::default();
    let exit = match &args.prompt {
        Some(prompt) => bench.try_out(prompt, &mut printed),
        None => bench.interact(&mut printed),
    }?;
    printed.finish()?;
    Ok(exit)
}

/// Checks everything that needs no model.
fn prepare(args: &Args) -> anyhow::Result<Plan> {
    let constitution = trial::read(&args.constitution)?.resolved.constitution;
    let ids = vec![args.principle.clone()];
    trial::check_ids(&ids, &constitution)?;
    let plan = args.trial.plan(constitution)?;
    Ok(Plan {
        select: Select::Ids(ids),
        recheck: true,
        ..plan
    })
}

struct Bench<'a> {
    args: &'a Args,
    loaded: Loaded,
    interrupted: AtomicBool,
}

impl Bench<'_> {
    /// Reads prompts until there are none or nobody reads what comes of them, and tries the last one again where
    /// a line is empty.
    fn interact(&self, printed: &mut Printed) -> anyhow::Result<Exit> {
        let mut lines = io::stdin().lock().lines();
        let mut last: Option<String> = None;
        let mut exit = Exit::Done;
        loop {
            let hint = if last.is_some() {
                " (Enter: the same again)"
            } else {
                ""
            };
            ask(&format!("prompt{hint}> "));
            let Some(line) = lines.next() else {
                ask("\n");
                return Ok(exit);
            };
            let line = line.map_err(|error| usage(anyhow!("stdin: {error}")))?;
            let prompt = match (line.trim().is_empty(), &last) {
                (false, _) => line,
                (true, Some(last)) => last.clone(),
                (true, None) => continue,
            };
            // A file that is broken just now is mended in the editor.
            match self.try_out(&prompt, printed) {
                Ok(outcome) => exit = outcome,
                Err(error) if error.is::<crate::cli::exit::UsageError>() => {
                    say(&format!("{error:#}"))
                }
                Err(error) => return Err(error),
            }
            if printed.is_lost() {
                return Ok(exit);
            }
            last = Some(prompt);
        }
    }

    /// One prompt through draft, verdict, revision and recheck.
    fn try_out(&self, prompt: &str, printed: &mut Printed) -> anyhow::Result<Exit> {
        let plan = Arc::new(prepare(self.args)?);
        let task = trial_of(Arc::clone(&plan), prompt, self.args.response.as_deref(), 0);
        let id = task.start.id.clone();
        let mut memory = Memory::default();
        let options = EngineOptions {
            parallel: 1,
            retry_failed: false,
        };
        let mut tasks = std::iter::once(Ok(task));
        engine::run(
            self.loaded.backend(),
            &mut memory,
            &mut tasks,
            options,
            &self.interrupted,
            &mut |_| {},
        )?;
        let outcome = memory.take(&id);
        printed.note(|| match self.args.format {
            Format::Text => {
                let mut out = stdout::styled();
                let written = out.write_all(page::render(&outcome).as_bytes());
                written.and_then(|()| out.flush())
            }
            Format::Json => stdout::line(&self.to_json(&plan, prompt, &outcome)),
        });
        let failed = outcome.end.is_some_and(|end| end.error.is_some());
        Ok(if failed { Exit::SomeFailed } else { Exit::Done })
    }

    fn to_json(&self, plan: &Plan, prompt: &str, outcome: &Outcome) -> Value {
        json!({
            "constitution": {
                "name": plan.constitution.name,
                "version": plan.constitution.version,
                "digest": plan.constitution.digest(),
            },
            "model": self.loaded.backend().identity().name,
            "pack": plan.pack.name,
            "threshold": plan.threshold,
            "seed": plan.seed,
            "principle": self.args.principle,
            "prompt": prompt,
            "steps": outcome.steps.iter().map(step).collect::<Value>(),
            "error": outcome.end.as_ref().and_then(|end| end.error.as_ref()),
        })
    }
}

fn step(step: &Step) -> Value {
    json!({
        "kind": step.kind,
        "output": step.output,
        "flags": step.flags,
        "verdict": step.verdict,
        "adopted": step.adopted,
    })
}

/// Asks on stderr, where a person is there to answer.
fn ask(text: &str) {
    if io::stdin().is_terminal() {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes());
        let _ = err.flush();
    }
}

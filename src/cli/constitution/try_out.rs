//! `amend constitution try`: one principle on one prompt, for someone who tunes its words.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anstyle::{AnsiColor, Style};
use anyhow::anyhow;

use super::trial::{self, TrialArgs};
use crate::chain::{Flag, Step, StepKind};
use crate::cli::backend::Loaded;
use crate::cli::diff;
use crate::cli::exit::{say, usage};
use crate::cli::text::sanitize;
use crate::cli::{Exit, signals};
use crate::engine::memory::{Memory, Outcome};
use crate::engine::policy::Select;
use crate::engine::{self, EngineOptions};
use crate::evaluation::trial_of;
use crate::verdict::Verdict;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution try mine.yaml --principle plain-words --prompt 'What is inflation?'
  amend constitution try mine.yaml --principle plain-words --prompt 'What is inflation?' --response 'A drift.'
  amend constitution try mine.yaml --principle plain-words    asks for prompts, one after the other

Without --prompt, prompts are read from the terminal, and the file is read again before each: change its words
in an editor, save, and press Enter to try the same prompt again. Nothing is kept.")]
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
    #[command(flatten)]
    trial: TrialArgs,
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
    match &args.prompt {
        Some(prompt) => bench.try_out(prompt),
        None => bench.interact(),
    }
}

/// Checks everything that needs no model.
fn prepare(args: &Args) -> anyhow::Result<engine::machine::Plan> {
    let constitution = trial::read(&args.constitution)?.resolved.constitution;
    let ids = vec![args.principle.clone()];
    trial::check_ids(&ids, &constitution)?;
    let plan = args.trial.plan(constitution)?;
    Ok(engine::machine::Plan {
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
    /// Reads prompts until there are none, and tries the last one again where a line is empty.
    fn interact(&self) -> anyhow::Result<Exit> {
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
            match self.try_out(&prompt) {
                Ok(outcome) => exit = outcome,
                Err(error) if error.is::<crate::cli::exit::UsageError>() => {
                    say(&format!("{error:#}"))
                }
                Err(error) => return Err(error),
            }
            last = Some(prompt);
        }
    }

    /// One prompt through draft, verdict, revision and recheck.
    fn try_out(&self, prompt: &str) -> anyhow::Result<Exit> {
        let plan = Arc::new(prepare(self.args)?);
        let task = trial_of(plan, prompt, self.args.response.as_deref(), 0);
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
        let mut out = anstream::stdout().lock();
        out.write_all(self.page(&outcome).as_bytes())?;
        out.flush()?;
        let failed = outcome.end.is_some_and(|end| end.error.is_some());
        Ok(if failed { Exit::SomeFailed } else { Exit::Done })
    }

    fn page(&self, outcome: &Outcome) -> String {
        let bold = Style::new().bold();
        let colour = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let mut page = String::new();
        let mut current = "";
        for step in &outcome.steps {
            let name = step.kind.as_str();
            let flags: Vec<_> = step.flags.iter().copied().map(Flag::as_str).collect();
            let flags = if flags.is_empty() {
                String::new()
            } else {
                format!("  (flags: {})", flags.join(", "))
            };
            page.push_str(&format!("{bold}{name}{bold:#}{flags}\n"));
            match (step.kind, &step.verdict) {
                (StepKind::Draft, _) => indent(&mut page, &step.output),
                (StepKind::Revision, _) => {
                    let changed = diff::painted(&diff::words(current, &step.output), colour);
                    for line in changed.trim_end().lines() {
                        page.push_str(&format!("    {line}\n"));
                    }
                    if !step.adopted {
                        page.push_str("    not adopted\n");
                    }
                }
                (_, Some(verdict)) => page.push_str(&decision(verdict)),
                (_, None) => page.push_str("    no verdict\n"),
            }
            if is_text(step) && step.adopted {
                current = &step.output;
            }
        }
        if let Some(end) = &outcome.end
            && let Some(error) = &end.error
        {
            page.push_str(&format!("failed: {}\n", sanitize(error)));
        }
        page.push('\n');
        page
    }
}

fn is_text(step: &Step) -> bool {
    matches!(step.kind, StepKind::Draft | StepKind::Revision)
}

fn decision(verdict: &Verdict) -> String {
    let (style, word) = match verdict.violated {
        true => (AnsiColor::Red.on_default(), "violated"),
        false => (AnsiColor::Green.on_default(), "ok"),
    };
    let p = verdict
        .probability
        .map_or_else(String::new, |p| format!(", P {p:.3}"));
    let severity = verdict.severity.map_or("", |s| s.as_str());
    let severity = match severity {
        "" => String::new(),
        severity => format!(", {severity}"),
    };
    let by = verdict.source.as_str();
    let mut page = format!("    {style}{word}{style:#}{p}{severity}, by {by}\n");
    if let Some(quote) = &verdict.quote {
        let found = match verdict.quote_verified {
            true => "",
            false => "  (not in the response)",
        };
        indent(&mut page, &format!("quote: “{}”{found}", quote.trim()));
    }
    if !verdict.critique.is_empty() {
        indent(&mut page, &verdict.critique);
    }
    page
}

fn indent(page: &mut String, text: &str) {
    for line in sanitize(text.trim_end()).lines() {
        page.push_str(&format!("    {line}\n"));
    }
}

/// Asks on stderr, where a person is there to answer.
fn ask(text: &str) {
    if io::stdin().is_terminal() {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes());
        let _ = err.flush();
    }
}

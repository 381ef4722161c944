//! `amend judge`: which of two texts of a chain is better, and how good the judge is.

mod eval;
mod figures;
mod forecast;
mod stored;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::Exit;
use super::args::{ModelArgs, SamplingArgs};
use super::backend::{self, Hints, Loaded};
use super::chains::ChainsArgs;
use super::exit::{say, usage};
use super::{job, progress};
use crate::backend::llama::context::Workload;
use crate::chain::StepKind;
use crate::constitution::{self, Constitution};
use crate::generation::{Message, SamplingParams};
use crate::judgement::{Mode, Order, PairKind};
use crate::quality::judge::{Judge, Subject};
use crate::template::{JudgeStep, Pack};

/// The most tokens of the reasons, where nothing else is said.
const REASONS: u32 = 256;

/// The constitution of `--eval`, where none is named.
const DEFAULT_CONSTITUTION: &str = "hhh";

/// Between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// About how many tokens a question has before its principle.
const LONG: u32 = 512;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(mut_arg("max_tokens", |arg| {
    arg.help(format!("With --mode cot: most tokens of the reasons [default: {REASONS}]"))
}))]
#[command(after_help = "\
Examples:
  amend judge                                  the draft against the final text of every revised chain
  amend judge --run 3k9 --pairs best --ensemble 4
  amend judge -m hf:bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M --mode cot
  amend judge --where 'flag:preamble' --pairs draft-each --dry-run
  amend judge --eval comparisons.jsonl --svg reliability.svg
  amend ls judged:true margin<0                chains whose draft the judge prefers

A pair is judged under a principle that is drawn for it, once with either text shown first, and the mean
counts. What was judged is not judged again: after Ctrl-C, give the same command. A small model's judgement is
worth little; --eval tells how much.")]
pub struct Args {
    #[command(flatten)]
    chains: ChainsArgs,
    /// Which texts of a chain are compared; `best` is the draft with the revision that does best against it
    #[arg(long, value_enum, default_value_t = PairKind::FirstLast, value_name = "PAIRS")]
    pairs: PairKind,
    /// Ask for the letter at once, or for reasons first
    #[arg(long, value_enum, default_value_t = Mode::Choice, value_name = "MODE")]
    mode: Mode,
    /// Principles for each pair, whose probabilities are averaged
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    ensemble: u32,
    /// With --mode cot: how often reasons are asked for in each order
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    samples: u32,
    /// Draw from these principles [default: the active ones that no program decides]
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    principle: Option<Vec<String>>,
    /// Judge by this constitution: a YAML file, or a name [default: that of the chain's run; for --eval hhh]
    #[arg(short, long, value_name = "FILE")]
    constitution: Option<String>,
    /// The prompt pack: `default`, `paper`, or a folder with a judge.yaml in it
    #[arg(long, default_value = "default", value_name = "PACK")]
    pack: String,
    /// Judge these labelled comparisons, and say how good the judge is: a .jsonl file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "condition", "explain", "pairs", "dry_run"])]
    eval: Option<PathBuf>,
    /// With --eval: take the first N comparisons, or those from A to B, counted from 1
    #[arg(long, value_name = "N|A-B", requires = "eval", value_parser = super::args::limit)]
    limit: Option<String>,
    /// With --eval: write a reliability plot to this file
    #[arg(long, value_name = "FILE", requires = "eval")]
    svg: Option<PathBuf>,
    /// Say what would be done and how long it would take, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Make answers independent of what else is decoded at the same time; slower
    #[arg(long)]
    deterministic: bool,
    /// Write one JSON line per judgement to stdout, then one with the figures
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.eval.clone() {
        Some(file) => eval::run(&args, &file),
        None => stored::run(&args),
    }
}

impl Args {
    fn pack(&self) -> anyhow::Result<Pack> {
        let pack = Pack::load(&self.pack).map_err(usage)?;
        let needed: &[JudgeStep] = match self.mode {
            Mode::Choice => &[JudgeStep::Judge],
            Mode::Cot => &[JudgeStep::Reason, JudgeStep::Conclude],
        };
        if let Some(step) = needed.iter().find(|step| !pack.has_judge(**step)) {
            bail!(usage(anyhow!(
                "the pack `{}` has no {}.yaml, so it cannot judge in mode {}; add the file, or use --pack default",
                pack.name,
                step.as_str(),
                self.mode.as_str()
            )));
        }
        Ok(pack)
    }

    /// The constitution that was named.
    fn named_constitution(&self) -> anyhow::Result<Option<Constitution>> {
        let load = |name: &String| -> anyhow::Result<Constitution> {
            let loaded = constitution::load(name).map_err(usage)?;
            Ok(loaded.resolved.constitution)
        };
        self.constitution.as_ref().map(load).transpose()
    }

    /// A judge by the given constitution. Every error is one of usage.
    fn judge(&self, constitution: Constitution, pack: &Pack) -> anyhow::Result<Arc<Judge>> {
        if let Some(ids) = &self.principle {
            job::check_ids("--principle", ids, &constitution).map_err(usage)?;
        }
        let sampling = SamplingParams {
            max_tokens: self.sampling.max_tokens.unwrap_or(REASONS),
            ..job::sampling(&self.sampling, pack)
        };
        let mut only = self.principle.clone();
        if let Some(ids) = &mut only {
            // The order in which they are named decides nothing.
            ids.sort();
            ids.dedup();
        }
        let adapters = self.model.lora.resolve().map_err(usage)?;
        let judge = Judge {
            constitution,
            pack: pack.clone(),
            mode: self.mode,
            ensemble: self.ensemble as usize,
            only,
            samples: self.samples,
            sampling,
            seed: self.sampling.seed,
            adapter: adapters.roles.get(&StepKind::Critique).cloned(),
        };
        let drawable = judge.drawable().iter().filter(|p| p.weight > 0.0).count();
        if drawable < judge.ensemble {
            bail!(usage(anyhow!(
                "the constitution `{}` has {drawable} principles to draw from, and --ensemble asks for {}; \
                 lower it, or name others with --principle (those of weight 0 are never drawn)",
                judge.constitution.name,
                judge.ensemble
            )));
        }
        Ok(Arc::new(judge))
    }

    /// What decides a judgement besides model, constitution and pack.
    fn config(&self, judge: &Judge) -> Value {
        let mut config = json!({
            "seed": judge.seed,
            "ensemble": judge.ensemble,
            "principles": judge.only,
            "adapter": judge.adapter,
        });
        if judge.mode == Mode::Cot {
            config["samples"] = judge.samples.into();
            config["sampling"] = json!(judge.sampling);
        }
        config
    }

    /// Loads the model. `pairs` is about how many there are, and `judge` one of the judges.
    fn load(&self, judge: &Arc<Judge>, pairs: u64) -> anyhow::Result<Loaded> {
        let questions = u64::from(self.ensemble)
            * if self.mode == Mode::Cot {
                u64::from(self.samples)
            } else {
                1
            };
        let hints = Hints {
            workload: Workload {
                shared_prefix: 0,
                // Everything about a pair in one order begins alike.
                fan_out: u32::try_from(questions).unwrap_or(u32::MAX),
                // Two responses besides the prompt.
                prompt: LONG,
                goes_on: false,
                reply: match self.mode {
                    Mode::Choice => 1,
                    Mode::Cot => judge.sampling.max_tokens,
                },
                chains: Some(2 * pairs.saturating_mul(questions)),
            },
            probes: probe(judge).into_iter().collect(),
        };
        let loaded = backend::load(&self.model, self.deterministic, hints)?;
        if let Loaded::Llama(model) = &loaded {
            say(&model.cache().to_string());
        }
        Ok(loaded)
    }
}

/// What two pairs are told.
fn probe(judge: &Arc<Judge>) -> Option<[Vec<Message>; 2]> {
    let principle = judge.drawable().first()?.id.clone();
    let messages = |word: &str| {
        let subject = Arc::new(Subject {
            conversation: vec![Message::user(word)],
            first: word.to_owned(),
            second: word.to_owned(),
        });
        let asked = judge.questions(&subject, std::slice::from_ref(&principle));
        let first = asked.ok()?.into_iter().find(|a| a.order == Order::Ab)?;
        Some(first.question.request().messages().to_vec())
    };
    Some([messages("one")?, messages("another")?])
}

/// Says how far things are: a bar on a terminal, a line now and then elsewhere.
struct Ticker {
    bar: Option<ProgressBar>,
    begun: Instant,
    said: Instant,
    total: u64,
    what: &'static str,
}

impl Ticker {
    /// For so many of `what`, such as `pairs`.
    fn new(total: u64, what: &'static str) -> Self {
        let bar = std::io::IsTerminal::is_terminal(&std::io::stderr()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            begun: Instant::now(),
            said: Instant::now(),
            total,
            what,
        }
    }

    /// So many are done of those in sight, `asked` of them by asking the model.
    fn tick(&mut self, done: u64, asked: u64) {
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-3);
        let speed = asked as f64 / seconds;
        let left = self.total.saturating_sub(done);
        let mut message = format!("{}  {speed:.1}/s", self.what);
        if asked > 0 && left > 0 {
            let time = Duration::from_secs_f64((left as f64 / speed.max(1e-9)).min(1e9));
            message.push_str(&format!("  {} left", progress::duration(time)));
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(done.min(self.total));
                bar.set_message(message);
            }
            None if self.said.elapsed() >= LINE_EVERY => {
                self.said = Instant::now();
                say(&format!("{done}/{} {message}", self.total));
            }
            None => {}
        }
    }

    /// Prints a line without disturbing the bar.
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// Ends the display; how long it took.
    fn finish(self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.begun.elapsed()
    }
}

//! `amend eval`: what an adapter changes, on prompts and texts that it was not trained on.

mod answers;
mod drift;
mod measure;
mod plot;
mod preferred;
mod report;
mod sides;
mod suites;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{anyhow, bail};

use crate::constitution;
use crate::evaluation::effect::{Condition, ConditionError, Effect, Preferred};
use crate::template::{CritiqueStyle, Pack};

use super::args::{ChainArgs, ModelArgs, PromptArgs, SamplingArgs, share};
use super::exit::{say, usage};
use super::{DbArg, Exit, signals, stdout};
use answers::Common;
use measure::Answered;
use preferred::Preferring;
use sides::Sides;
use suites::Suite;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend eval --suite datasets/benign.jsonl datasets/general.jsonl --lora style.gguf -c style.yaml
  amend eval --suite harmful=red.csv xstest_prompts.csv --lora new.gguf --against old.gguf
  amend eval --suite prompts.jsonl -c hhh --out out/eval          one side: rates without a comparison
  amend eval --suite datasets/general.jsonl --lora a.gguf --fail-if 'drift>0.1' --fail-if 'same_top<0.9'

The answers of both sides and the verdicts on them are runs of the store: `amend runs` lists them, and what was
answered before is not answered again. Figures for --fail-if are listed by --list-figures.")]
pub struct Args {
    /// Prompt files, each with what it is for and `=` before it where that is not its name: benign, borderline,
    /// harmful, general (texts to read, for drift), other. Files of XSTest, HarmBench and Do-Not-Answer are known
    #[arg(long = "suite", value_name = "[KIND=]FILE", num_args = 1.., required = true)]
    suites: Vec<String>,
    /// What --lora is compared with: `none` for the model without an adapter, or another adapter
    #[arg(long, default_value = "none", value_name = "none|FILE[:SCALE]")]
    against: String,
    /// The model that judges, in place of --model without an adapter
    #[arg(long, value_name = "MODEL")]
    judge: Option<String>,
    /// The constitution: a YAML file, or the name of one that comes with this program
    #[arg(short, long, default_value = "hhh", value_name = "FILE")]
    constitution: String,
    /// The prompt pack: `default`, or a folder; it must ask for verdicts
    #[arg(long, default_value = "default", value_name = "PACK")]
    pack: String,
    /// Which principles are asked about: `all` that are active, or ID,ID…
    #[arg(long, default_value = "all", value_name = "WHICH")]
    select: String,
    /// Answers per prompt and side
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1000))]
    samples: u32,
    /// Least P(violated) that counts as violated
    #[arg(long, default_value_t = 0.5, value_name = "P", value_parser = share)]
    threshold: f64,
    /// Make results independent of what else is decoded at the same time; slower
    #[arg(long)]
    deterministic: bool,
    /// End with code 4 where this holds: a figure, a comparison and a number, such as 'drift>0.1'
    #[arg(long = "fail-if", value_name = "CONDITION", value_parser = condition)]
    fail_if: Vec<Condition>,
    /// List the figures that --fail-if may name, with their values
    #[arg(long)]
    list_figures: bool,
    /// Write eval.md, eval.json and eval.svg to this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print JSON in place of Markdown
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    db: DbArg,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    reading: PromptArgs,
    #[command(flatten)]
    model: ModelArgs,
}

fn condition(text: &str) -> Result<Condition, ConditionError> {
    text.parse()
}

/// Runs the command.
pub fn run(mut args: Args) -> anyhow::Result<Exit> {
    args.select = measure::named_once(&args.select);
    let constitution = constitution::load(&args.constitution)
        .map_err(usage)?
        .resolved
        .constitution;
    check_pack(&args.pack)?;
    let suites = suites::read(&args.suites, &args.reading)?;
    let sides = Sides::new(&args.model, &args.against, args.judge.as_deref())?;
    let asked = measure::asked(&constitution, &args.select)?;
    let expected = measure::figure_names(&suites, &asked, sides.before.is_some());
    for condition in &args.fail_if {
        known(condition, &expected)?;
    }
    let interrupted = signals::interruption(
        "finishing the steps in flight; press Ctrl-C again to leave at once",
        "left at once; the same command goes on where this one was",
    )?;
    let chain = args.chain();
    let common = Common {
        db: &args.db.db,
        chain: &chain,
        sampling: &args.sampling,
        reading: &args.reading,
        interrupted: &interrupted,
    };
    let drift = sides.drifts() && suites.iter().any(|suite| !suite.is_answered());
    if suites.iter().any(|suite| !suite.is_answered()) && !drift {
        say("drift is left out: it takes two sides of a model in this process");
    }
    let mut measured = measure::Measured::default();
    let answered: Vec<&Suite> = suites.iter().filter(|suite| suite.is_answered()).collect();
    let mut preferred = (None, 0);
    if !answered.is_empty() {
        let preferring = Preferring {
            common: &common,
            constitution: &constitution,
            asked: &asked,
        };
        match answer(&preferring, &mut measured, &sides, &answered)? {
            Some(found) => preferred = found,
            None => return Ok(left()),
        }
    }
    let mut effect: Effect = measured.effect(&args.db.db, &answered, &asked, args.samples)?;
    (effect.preferred, effect.undecided) = preferred;
    if drift {
        let texts = suites.iter().filter(|suite| !suite.is_answered());
        match drift::read(&sides, texts, &args.reading, &interrupted)? {
            drift::Outcome::Done(found, model) => {
                effect.drift = found.map(|drift| *drift);
                measured.model = model;
            }
            drift::Outcome::Interrupted => return Ok(left()),
        }
    }
    finish(&args, &constitution, &sides, &measured, &effect)
}

/// The end where the person wants it.
fn left() -> Exit {
    say("interrupted; the same command goes on where this one was");
    Exit::Interrupted
}

/// Answers, verdicts and preferences, with the number of pairs that the judge could not decide. `None` when
/// interrupted.
fn answer(
    preferring: &Preferring<'_>,
    measured: &mut measure::Measured,
    sides: &Sides,
    suites: &[&Suite],
) -> anyhow::Result<Option<(Option<Preferred>, u64)>> {
    let answered = measured.answer(preferring.common, sides, suites, preferring.asked)?;
    let Answered::By(loaded) = answered else {
        return Ok(None);
    };
    let judge = preferring.judge()?;
    let (Some(judge), Some(loaded), true) = (judge, loaded, sides.before.is_some()) else {
        return Ok(Some((None, 0)));
    };
    Ok(match preferring.ask(&judge, &loaded, measured, suites)? {
        preferred::Outcome::Done(found, undecided) => Some((found, undecided)),
        preferred::Outcome::Interrupted => None,
    })
}

impl Args {
    /// What chains have in common.
    fn chain(&self) -> ChainArgs {
        ChainArgs {
            constitution: self.constitution.clone(),
            pack: self.pack.clone(),
            rounds: None,
            samples: self.samples,
            select: Some(self.select.clone()),
            revise: None,
            recheck: false,
            threshold: self.threshold,
            deterministic: self.deterministic,
        }
    }
}

/// Prints and writes the report, and holds the figures against the conditions.
fn finish(
    args: &Args,
    constitution: &constitution::Constitution,
    sides: &Sides,
    measured: &measure::Measured,
    effect: &Effect,
) -> anyhow::Result<Exit> {
    let figures = effect.figures();
    let broken: Vec<&Condition> = args
        .fail_if
        .iter()
        .filter(|condition| condition.holds(&figures) == Some(true))
        .collect();
    let report = report::Report {
        constitution,
        sides,
        measured,
        effect,
        samples: args.samples,
        seed: args.sampling.seed,
        threshold: args.threshold,
        broken: broken.iter().map(ToString::to_string).collect(),
    };
    let (markdown, json) = (report.markdown(), report.json());
    if let Some(folder) = &args.out {
        let plot = plot::svg(effect, &sides.label_before(), &sides.label_after());
        report::write(folder, &markdown, &json, &plot)?;
    }
    let text = if args.json {
        format!("{json}\n")
    } else {
        markdown
    };
    let mut out = stdout::as_asked(args.json);
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    // What was found is told by the exit code as well.
    stdout::or_closed(printed)?;
    if args.list_figures {
        for (name, value) in &figures {
            say(&format!("{name} = {value}"));
        }
    }
    for condition in &broken {
        let value = figures[&condition.figure];
        say(&format!("fails: {condition} (it is {value})"));
    }
    let undecided = undecided(&args.fail_if, effect);
    if broken.is_empty() && !undecided.is_empty() {
        bail!("{}", undecided.join("\n"));
    }
    for line in &undecided {
        say(line);
    }
    Ok(match (broken.is_empty(), measured.failed) {
        (false, _) => Exit::CheckFailed,
        (true, 0) => Exit::Done,
        (true, _) => Exit::SomeFailed,
    })
}

/// The conditions on figures that could have been there and have no value, each with the reason.
fn undecided(conditions: &[Condition], effect: &Effect) -> Vec<String> {
    let figures = effect.figures();
    conditions
        .iter()
        .filter(|condition| condition.holds(&figures).is_none())
        .map(|condition| {
            format!(
                "`{condition}` cannot be told: there is no figure `{}` in this evaluation, since {}",
                condition.figure,
                effect.why_missing(&condition.figure)
            )
        })
        .collect()
}

fn check_pack(pack: &str) -> anyhow::Result<()> {
    let pack = Pack::load(pack).map_err(usage)?;
    if pack.critique == CritiqueStyle::Prose {
        bail!(usage(anyhow!(
            "the pack `{}` asks for critiques in prose, which hold no verdict; use --pack default, or another pack with verdicts",
            pack.name
        )));
    }
    Ok(())
}

/// Refuses a condition on a figure that this evaluation does not have.
fn known(condition: &Condition, names: &[String]) -> anyhow::Result<()> {
    if names.contains(&condition.figure) {
        return Ok(());
    }
    let near = names
        .iter()
        .map(|name| (strsim::jaro_winkler(&condition.figure, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("; did you mean `{name}`?"));
    bail!(usage(anyhow!(
        "--fail-if '{condition}': this evaluation has no figure `{}`{}\nthere are: {}",
        condition.figure,
        near.unwrap_or_default(),
        names.join(", ")
    )))
}

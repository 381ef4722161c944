//! `amend label`: what people say about chains.

mod editor;
mod history;
pub mod who;
mod words;

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};

use super::chains::{ChainsArgs, Chosen};
use super::exit::{say, usage};
use super::stdout::Printed;
use super::text::{plural, sanitize};
use super::{Exit, runs, stdout};
use crate::chain::ChainId;
use crate::store::{BulkAction, ChainDetail, LabelAction, LabelEntry, LabelKind, Labels, Store};
use words::{Verb, Words};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Actions:
  accept, reject             may its text be learned from?
  edit [TEXT]                a better text; from --file, or written in $VISUAL or $EDITOR
  note TEXT                  a remark
  agree, disagree [PRINCIPLE]  is the verdict right? --step names one of several
  undo                       take back the last entry that stands
  history                    print all entries

Examples:
  amend label 7k2m accept
  amend label 7k2m 9qxd reject
  amend label 7k2m edit --file better.txt
  amend label 7k2m disagree plain-words
  amend label --where 'changed<0.1 not flag:truncated' accept --yes
  amend label 7k2m history

Nothing is ever overwritten: every label is a further entry in the chain's history.")]
pub struct Args {
    /// Chains, by the beginnings of their ids, and what to do with them; see below
    #[arg(value_name = "CHAIN… ACTION", required = true)]
    words: Vec<String>,
    /// Who labels [default: the name of the user on this system]
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// The edited text or the note: a file, or `-` for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The step whose verdict is meant, counted from 0
    #[arg(long, value_name = "N")]
    step: Option<u32>,
    /// Label all that match without asking
    #[arg(long)]
    yes: bool,
    /// Print every entry as one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chains: ChainsArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit> {
    let many = args.chains.are_given();
    let words = Words::read(&args.words, many)?;
    check_options(&args, words.verb)?;
    let chosen = args.chains.open()?;
    if many {
        return label_matching(&args, &words, chosen);
    }
    let ids = words.chains.iter().map(|id| chosen.store.resolve_chain(id));
    let ids: Vec<ChainId> = ids.collect::<Result<_, _>>().map_err(runs::failed)?;
    if words.verb == Verb::History {
        no_text(&words)?;
        return history::print(&chosen.store, &ids, args.json);
    }
    let actions = actions(&args, &words, &chosen.store, &ids)?;
    let who = who::name(args.who.as_deref());
    let mut labels = Labels::open(args.chains.db()).map_err(runs::failed)?;
    let (mut done, mut printed) = (0, Printed::default());
    for (id, action) in ids.iter().zip(actions) {
        let entry = match &action {
            Some(action) => Some(labels.label(id, &who, action).map_err(runs::failed)?),
            None => labels.undo(id, &who).map_err(runs::failed)?,
        };
        match entry {
            Some(entry) => {
                done += 1;
                printed.note(|| print(&entry, action.is_none(), args.json));
            }
            None => say(&format!("{}: no label is left to take back", id.0)),
        }
    }
    printed
        .finish()
        .with_context(|| format!("kept {}", plural(done, "label")))?;
    Ok(if done > 0 { Exit::Done } else { Exit::Failed })
}

/// Options that belong to other actions are slips.
fn check_options(args: &Args, verb: Verb) -> Result<()> {
    let text = matches!(verb, Verb::Edit | Verb::Note);
    let verdict = matches!(verb, Verb::Agree | Verb::Disagree);
    for (given, fits, option, verbs) in [
        (args.file.is_some(), text, "--file", "edit and note"),
        (args.step.is_some(), verdict, "--step", "agree and disagree"),
    ] {
        if given && !fits {
            bail!(usage(anyhow!(
                "{option} goes with {verbs}, not with `{}`",
                verb.name()
            )));
        }
    }
    Ok(())
}

fn no_text(words: &Words<'_>) -> Result<()> {
    match words.text()? {
        None => Ok(()),
        Some(text) => Err(usage(anyhow!(
            "`{}` takes no text, and `{text}` follows it; chains go before the action",
            words.verb.name()
        ))),
    }
}

/// What to do with each chain; `None` takes back.
fn actions(
    args: &Args,
    words: &Words<'_>,
    store: &Store,
    ids: &[ChainId],
) -> Result<Vec<Option<LabelAction>>> {
    let same = |action: Option<LabelAction>| Ok(vec![action; ids.len()]);
    match words.verb {
        Verb::Accept => no_text(words).and_then(|()| same(Some(LabelAction::Accept))),
        Verb::Reject => no_text(words).and_then(|()| same(Some(LabelAction::Reject))),
        Verb::Note => {
            let text = given_text(args, words)?;
            let text = text.ok_or_else(|| usage(anyhow!("a note needs a text: note \"…\"")))?;
            same(Some(LabelAction::Note(text)))
        }
        Verb::Edit => {
            let [id] = ids else {
                bail!(usage(anyhow!(
                    "`edit` takes one chain: each has a text of its own"
                )));
            };
            let text = match given_text(args, words)? {
                Some(text) => text,
                None => editor::edit(&store.chain(id).map_err(runs::failed)?)?,
            };
            same(Some(LabelAction::Edit(text)))
        }
        Verb::Agree | Verb::Disagree => {
            let principle = words.text()?;
            let each = ids.iter().map(|id| {
                let chain = store.chain(id).map_err(runs::failed)?;
                let step = judged_step(&chain, principle, args.step).map_err(usage)?;
                Ok(Some(match words.verb {
                    Verb::Agree => LabelAction::Agree(step),
                    _ => LabelAction::Disagree(step),
                }))
            });
            each.collect()
        }
        Verb::Undo | Verb::History => no_text(words).and_then(|()| same(None)),
    }
}

/// The text that follows the action, or that of `--file`.
fn given_text(args: &Args, words: &Words<'_>) -> Result<Option<String>> {
    match (words.text()?, &args.file) {
        (Some(_), Some(_)) => Err(usage(anyhow!("give a text or a --file, not both"))),
        (Some(text), None) => Ok(Some(text.to_owned())),
        (None, None) => Ok(None),
        (None, Some(file)) if file.as_os_str() == "-" => {
            let mut text = String::new();
            let read = io::stdin().read_to_string(&mut text);
            read.map_err(|error| usage(anyhow!("cannot read the text from stdin: {error}")))?;
            Ok(Some(text))
        }
        (None, Some(file)) => std::fs::read_to_string(file)
            .map(Some)
            .map_err(|error| usage(anyhow!("cannot read {}: {error}", file.display()))),
    }
}

/// The step whose verdict a person speaks of.
fn judged_step(chain: &ChainDetail, principle: Option<&str>, step: Option<u32>) -> Result<u32> {
    let id = &chain.row.chain_id;
    let judged: Vec<_> = chain
        .steps
        .iter()
        .filter(|s| s.verdict.is_some() && step.is_none_or(|step| s.ordinal == step))
        .filter(|s| principle.is_none_or(|p| s.principle_id.as_deref() == Some(p)))
        .collect();
    let list = |steps: &[&crate::store::StepDetail]| {
        let names = steps.iter().map(|s| {
            let principle = s.principle_id.as_deref().unwrap_or_default();
            format!("{} ({principle}, {})", s.ordinal, s.kind.as_str())
        });
        names.collect::<Vec<_>>().join(", ")
    };
    match judged.as_slice() {
        [only] => Ok(only.ordinal),
        [] => {
            let all: Vec<_> = chain.steps.iter().filter(|s| s.verdict.is_some()).collect();
            match all.is_empty() {
                true => bail!("chain {id} has no verdict"),
                false => bail!(
                    "chain {id} has no such verdict; it has verdicts in steps {}",
                    list(&all)
                ),
            }
        }
        several => bail!(
            "chain {id} has several verdicts; say which with --step: {}",
            list(several)
        ),
    }
}

fn label_matching(args: &Args, words: &Words<'_>, chosen: Chosen) -> Result<Exit> {
    let action = match words.verb {
        Verb::Accept => no_text(words).map(|()| BulkAction::Accept)?,
        Verb::Reject => no_text(words).map(|()| BulkAction::Reject)?,
        Verb::Undo => no_text(words).map(|()| BulkAction::Undo)?,
        Verb::Note => {
            let text = given_text(args, words)?;
            BulkAction::Note(text.ok_or_else(|| usage(anyhow!("a note needs a text: note \"…\"")))?)
        }
        verb => bail!(usage(anyhow!(
            "`{}` is about one chain; name it by its id",
            verb.name()
        ))),
    };
    let Chosen { filter, run, .. } = chosen;
    let run = run.as_deref();
    let mut labels = Labels::open(args.chains.db()).map_err(runs::failed)?;
    let count = labels.count(&filter, run, &action).map_err(runs::failed)?;
    let what = format!("{}: {}", words.verb.name(), plural(count, "chain"));
    if count == 0 {
        say(&what);
        return Ok(Exit::Done);
    }
    if !args.yes && !confirmed(&what)? {
        say("nothing was labelled");
        return Ok(Exit::Failed);
    }
    let who = who::name(args.who.as_deref());
    let done = labels
        .label_all(&filter, run, &who, &action, Some(count))
        .map_err(runs::failed)?;
    let printed = if args.json {
        let line = serde_json::json!({"action": words.verb.name(), "chains": done, "who": who});
        stdout::line(&line)
    } else {
        writeln!(stdout::styled(), "{what}, by {}", sanitize(&who))
    };
    stdout::or_closed(printed).with_context(|| format!("kept {}", plural(done, "label")))?;
    Ok(Exit::Done)
}

/// Asks the person at the terminal; without one, `--yes` has to be said.
fn confirmed(what: &str) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(usage(anyhow!("{what}; say --yes to label them")));
    }
    write!(anstream::stderr().lock(), "{what}. Go on? [y/N] ")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

fn print(entry: &LabelEntry, taken_back: bool, json: bool) -> io::Result<()> {
    let mut out = stdout::as_asked(json);
    if json {
        return writeln!(out, "{}", serde_json::to_string(entry)?);
    }
    let what = match entry.action {
        LabelKind::Agree | LabelKind::Disagree => format!(
            "{} with step {} ({})",
            entry.action.as_str(),
            entry.step.unwrap_or_default(),
            entry.principle_id.as_deref().unwrap_or("-")
        ),
        action => action.as_str().to_owned(),
    };
    let taken_back = if taken_back { "took back " } else { "" };
    let line = format!("{}  {taken_back}{what}, by {}", entry.chain_id, entry.who);
    writeln!(out, "{}", sanitize(&line))
}

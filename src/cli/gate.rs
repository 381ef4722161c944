//! `amend gate`, and the options of gates that it shares with `amend export`.

mod page;
mod refusals;
mod tokens;

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;

use super::args::share;
use super::chains::{ChainsArgs, Chosen};
use super::exit::{say, usage};
use super::{Exit, runs, stdout};
use crate::quality::gates::{self, Gating, Helpers, Refusals, Settings};
use crate::store::{Filter, Store, StoreError, Writer};

pub use refusals::Judge;
use tokens::TokenCounter;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend gate                                   every chain in amend.db
  amend gate --run 3k9 --gate language=off --gate tokens=2048
  amend gate --gate draft-preferred=flip       turn pairs round where the judge prefers the draft
  amend gate --max-overrefusal 0.05            exit code 4 where more benign prompts are refused than before
  amend ls 'gate:collapse'                     the chains that a gate leaves out

Decisions are kept in the store (views v_gates and v_pairs). `amend export` decides anew, with the same options.

Gates and what they take; on and off are for all:
  control           prompts that were run to measure refusals (--controls)
  equal-texts       chosen and rejected say the same; the pair only
  draft-preferred   drop, flip or best: what becomes of a pair whose draft the judge prefers
  judge-tie         the least margin of the judge, P(chosen) - P(rejected); the pair only
  judge-disagrees   the judge decides by the order of the texts; the pair only
  flags             failure modes that a text must not show, with commas between them
  refusal           benign or all: the prompts that must not be refused
  length-ratio      LOW-HIGH: the length of the chosen text over that of the rejected one; the pair only
  tokens            the most tokens of prompt and response, by the model's own tokenizer and template
  personal-data     e-mail addresses, telephone numbers, payment cards, bank accounts
  secrets           keys and tokens of known forms, private keys, passwords in addresses
  language          how sure it must be that prompt and response differ in language, 0 to 1
  duplicate         the same prompt and response are there already
  near-duplicate    how similar prompts and responses must be to count as the same, 0.5 to 1
  collapse          the share of rows that may hold a wording which revisions repeat and drafts do not")]
pub struct Args {
    #[command(flatten)]
    chains: ChainsArgs,
    #[command(flatten)]
    gates: GateArgs,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// Options that say which gates are open.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Gates")]
pub struct GateArgs {
    /// Set a gate: GATE=off, GATE=on, or GATE=THRESHOLD; may be repeated. `amend gate --help` lists them
    #[arg(long = "gate", value_name = "GATE=VALUE")]
    gates: Vec<String>,
    /// Leave out every gate that is not set with --gate
    #[arg(long)]
    no_gates: bool,
    /// Fail (exit code 4) where the share of benign prompts that are refused grows by more than this from
    /// draft to final text
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_overrefusal: Option<f64>,
    /// The model whose tokenizer counts tokens [default: the one that wrote the chains]
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<String>,
    /// A model, or the address of a server, that is asked whether replies to benign prompts refuse, besides the
    /// known forms of refusals
    #[arg(long, value_name = "MODEL|URL")]
    refusal_judge: Option<String>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let settings = args.gates.settings()?;
    let db = args.chains.db().to_owned();
    let Chosen { store, filter, run } = args.chains.open()?;
    let mut judge = args.gates.judge(&store, &filter, run.as_deref())?;
    let gate = || {
        args.gates
            .gate(&store, &filter, run.as_deref(), &settings, judge.as_mut())
    };
    store.keep_few_pages().map_err(runs::failed)?;
    let gating = store.at_one_moment(gate).map_err(runs::failed)??;
    if gating.figures.chains == 0 {
        return Err(usage(anyhow!("no chain to look at; see `amend ls`")));
    }
    // Readers and the writer do not meet.
    drop(store);
    keep(&gating, &db, &filter, run.as_deref())?;
    let held = args.gates.holds(&gating)?;
    let object = json!({"settings": settings.to_json(), "figures": gating.figures});
    let mut out = stdout::as_asked(args.json);
    // Whether refusals grew is told by the exit code as well.
    stdout::or_closed(match args.json {
        true => page::print_json(&mut out, &object),
        false => page::print(&mut out, &gating),
    })?;
    Ok(match held {
        true => Exit::Done,
        false => Exit::CheckFailed,
    })
}

/// Keeps decisions in the store. One that cannot be written keeps none, and says so.
pub fn keep(gating: &Gating, db: &Path, filter: &Filter, run: Option<&str>) -> anyhow::Result<()> {
    let (record, chains) = gating.record(filter, run);
    let kept = Writer::open(db).and_then(|mut writer| writer.record_gating(&record, chains));
    match kept {
        Err(
            error @ (StoreError::ReadOnly(_) | StoreError::Disk { .. } | StoreError::DiskFull(_)),
        ) => {
            say(&format!(
                "note: the decisions of the gates are not kept: {error}"
            ));
            Ok(())
        }
        kept => kept.map_err(runs::failed),
    }
}

impl GateArgs {
    /// The settings that the options make.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = match self.no_gates {
            true => Settings::none(),
            false => Settings::default(),
        };
        for gate in &self.gates {
            settings.set(gate).map_err(usage)?;
        }
        Ok(settings)
    }

    /// Asks the model that is to tell refusals. This is for the time before the store is held at one moment: as
    /// long as it is, its log grows with all that a run writes.
    pub fn judge(
        &self,
        store: &Store,
        filter: &Filter,
        run: Option<&str>,
    ) -> anyhow::Result<Option<Judge>> {
        let judge = self.refusal_judge.as_deref().map(Judge::load);
        let mut judge = judge.transpose()?;
        if let Some(judge) = &mut judge {
            judge.ask(store, filter, run)?;
        }
        Ok(judge)
    }

    /// Lets the gates look at the matching chains.
    pub fn gate(
        &self,
        store: &Store,
        filter: &Filter,
        run: Option<&str>,
        settings: &Settings,
        judge: Option<&mut Judge>,
    ) -> anyhow::Result<Gating> {
        let counter = match settings.tokens {
            None => None,
            Some(_) => match TokenCounter::load(store, filter, run, self.tokenizer.as_deref()) {
                Ok(counter) => Some(counter),
                Err(error) if self.tokenizer.is_some() => return Err(usage(error)),
                Err(error) => {
                    say(&format!(
                        "note: tokens are not counted, since {error:#}; name a model with --tokenizer"
                    ));
                    None
                }
            },
        };
        let count = counter
            .as_ref()
            .map(|counter| |messages: &_| counter.count(messages));
        let count_text = counter
            .as_ref()
            .map(|counter| |text: &str| counter.count_text(text));
        // Of chains that ended meanwhile.
        let asked = judge.map(|judge| judge.ask(store, filter, run));
        let helpers = Helpers {
            tokens: count.as_ref().map(|count| count as gates::CountTokens<'_>),
            text_tokens: count_text
                .as_ref()
                .map(|count| count as gates::CountText<'_>),
            refusals: asked.transpose()?,
        };
        let mut gating =
            gates::gate(store, filter, run, settings, helpers).map_err(runs::failed)?;
        gating.figures.tokenizer = counter.map(|counter| counter.name);
        Ok(gating)
    }

    /// Whether refusals have grown by no more than they may; says so where they have.
    pub fn holds(&self, gating: &Gating) -> anyhow::Result<bool> {
        let Some(most) = self.max_overrefusal else {
            return Ok(true);
        };
        let figures = &gating.figures;
        let Some(by_form) = figures.refusals else {
            return Err(usage(anyhow!(
                "--max-overrefusal: no chain is about a prompt that is known to be benign; begin a run with \
                 `amend run … --controls datasets/benign.jsonl`, or put \"benign\": true into rows of the prompt file"
            )));
        };
        let mut holds = true;
        for refusals in [Some(by_form), figures.refusals_asked]
            .into_iter()
            .flatten()
        {
            let Refusals {
                increase,
                drafts,
                finals,
                ..
            } = refusals;
            if increase > most + 1e-12 {
                holds = false;
                say(&format!(
                    "over-refusal: final texts refuse {:.1} % of benign prompts and drafts {:.1} %, {:+.1} points, more \
                     than {:.1}",
                    100.0 * finals.share,
                    100.0 * drafts.share,
                    100.0 * increase,
                    100.0 * most
                ));
            }
        }
        Ok(holds)
    }
}

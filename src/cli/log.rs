//! `amend log`: what happened in a run, in order.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::{Result, anyhow, bail};

use super::exit::usage;
use super::text::sanitize;
use super::{DbArg, Exit, runs, signals, stdout};
use crate::chain::StopReason;
use crate::store::{EventKind, RunEvent, RunLock, Store};

/// Between two looks at a store that somebody writes.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Events that are read at a time.
const BATCH: u32 = 1000;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend log                    the newest run in amend.db, step by step
  amend log --run 3k9          another run
  amend log --follow           also what happens from now on, until the run ends
  amend log --last 20 --json   its last 20 events, one JSON object a line")]
pub struct Args {
    /// The run: its id, or the beginning of it [default: the newest]
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Go on as the run goes on, until it ends
    #[arg(short, long)]
    follow: bool,
    /// Begin N events before the end
    #[arg(long, value_name = "N")]
    last: Option<u32>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    db: DbArg,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit> {
    let store = runs::open(&args.db)?;
    let run = match &args.run {
        Some(run) => store.resolve_run(run).map_err(runs::failed)?,
        None => newest(&store)?,
    };
    let mut after = match args.last {
        Some(last) => store.event_before(&run, last).map_err(runs::failed)?,
        None => 0,
    };
    if args.follow {
        signals::leave_on_interrupt()?;
    }
    let mut out = stdout::as_asked(args.json);
    loop {
        // Asked before reading: what was recorded up to the end is then read for certain.
        let live = args.follow && RunLock::is_held(&args.db.db, &run);
        loop {
            let events = store
                .events(Some(&run), after, BATCH)
                .map_err(runs::failed)?;
            for event in &events {
                write_event(&mut out, event, args.json)?;
                after = event.event;
            }
            if events.len() < BATCH as usize {
                break;
            }
        }
        out.flush()?;
        if !live {
            return Ok(Exit::Done);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The run that was begun last.
fn newest(store: &Store) -> Result<String> {
    match store.runs().map_err(runs::failed)?.pop() {
        Some(run) => Ok(run.run_id),
        None => bail!(usage(anyhow!(
            "the store holds no run yet; `amend run` makes one"
        ))),
    }
}

fn write_event(out: &mut impl Write, event: &RunEvent, json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, event)?;
        return writeln!(out);
    }
    let dim = Style::new().dimmed();
    let at = event.at.as_deref().unwrap_or("-");
    let chain = event.chain_id.as_deref().unwrap_or_default();
    let (what, style) = describe(event);
    writeln!(
        out,
        "{dim}{at:<20}{dim:#}  {:<16}  {style}{}{style:#}",
        sanitize(chain),
        sanitize(&what)
    )
}

fn describe(event: &RunEvent) -> (String, Style) {
    let plain = Style::new();
    let colour = |colour: AnsiColor| plain.fg_color(Some(colour.into()));
    match event.what {
        EventKind::Running => (format!("run {} begins", event.run_id), plain.bold()),
        EventKind::Interrupted => (
            format!("run {} was interrupted", event.run_id),
            plain.bold(),
        ),
        EventKind::Done => (format!("run {} is done", event.run_id), plain.bold()),
        EventKind::End => {
            let stop = event.stop_reason;
            let style = colour(match stop {
                Some(StopReason::Failed) => AnsiColor::Red,
                _ => AnsiColor::Green,
            });
            (
                format!("ended: {}", stop.map_or("-", StopReason::as_str)),
                style,
            )
        }
        EventKind::Step => step(event, plain, colour),
    }
}

fn step(event: &RunEvent, plain: Style, colour: impl Fn(AnsiColor) -> Style) -> (String, Style) {
    let mut text = format!("step {}", event.ordinal.unwrap_or_default());
    if let Some(kind) = event.kind {
        text = format!("{text}  {}", kind.as_str());
    }
    if let Some(round) = event.round.filter(|round| *round > 0) {
        text = format!("{text}, round {round}");
    }
    if let Some(principle) = &event.principle_id {
        text = format!("{text}, {principle}");
    }
    let style = match event.violated {
        Some(true) => {
            text.push_str(": violated");
            colour(AnsiColor::Red)
        }
        Some(false) => {
            text.push_str(": ok");
            plain
        }
        None => plain,
    };
    if let Some(probability) = event.probability {
        text = format!("{text}, P {probability:.2}");
    }
    let revision = event.kind == Some(crate::chain::StepKind::Revision);
    if revision && event.adopted == Some(false) {
        text.push_str(", not adopted");
    }
    (text, style)
}

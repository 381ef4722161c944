//! `amend ls`.

use std::io::{self, Write};
use std::ops::ControlFlow;

use anstyle::{AnsiColor, Style};
use anyhow::Result;

use super::chains::{ChainsArgs, Chosen};
use super::text::{excerpt, fit, pad, terminal_width};
use super::{Exit, runs, stdout};
use crate::chain::Flag;
use crate::store::{ChainRow, ChainState, Label};

/// Columns of the prompt's excerpt where stdout is not a terminal.
const PROMPT_COLUMNS: usize = 48;
/// Columns before the prompt's excerpt.
const LEFT_COLUMNS: usize = 48;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = FILTER_HELP)]
pub struct Args {
    /// Conditions that chains must meet, joined by spaces; see below
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// Print at most N chains; the total is still counted
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chains: ChainsArgs,
}

const FILTER_HELP: &str = "\
Filters:
  Conditions are written key:value, without spaces, and joined by spaces or `and`, `or`, `not`, ( ).
  Numbers also take = != < <= > >=. A word alone, or a \"quoted text\", is searched for.

  about a step      principle:ID  violated:true|false  p>0.7  severity:major  source:model|check
                    kind:draft|critique|revision|recheck  human:agree|disagree
  about the chain   status:running|done|failed  stop:clean|rounds-done|context-full|failed
                    round>=2  revised:true  regressed:true  changed>0.3  len>2.0  tokens>300
                    flag:preamble  label:accept|reject|edit|none  prompt:ID  sample:0
                    run:ID  chain:ID  text:\"some words\"  revised-in:2
                    kept:true  pair:true  gate:length-ratio
  about judgements  judged:true  preference>0.6  margin<0  agree:true

  Conditions about a step that stand side by side speak of one and the same step; in parentheses of
  their own, each speaks of a step of its own.

Examples:
  amend ls principle:keep-people-safe violated:true
  amend ls 'text:\"of course\" not flag:preamble' --limit 20
  amend ls --where 'round>=2 (stop:clean or changed>0.5)' --json";

/// Runs the command.
pub fn run(args: Args) -> Result<Exit> {
    let Chosen { store, filter, run } = args.chains.open_with(&args.filter.join(" "))?;
    let mut out = stdout::as_asked(args.json);
    let width = terminal_width();
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut printed = 0;
    if !args.json {
        writeln!(out, "{}", header(width))?;
    }
    let more = store
        .for_each_chain(&filter, run.as_deref(), |chain| {
            if printed >= limit {
                return ControlFlow::Break(Ok(()));
            }
            printed += 1;
            match write_chain(&mut out, &chain, width, args.json) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Err(error)),
            }
        })
        .map_err(runs::failed)?;
    let total = match more {
        ControlFlow::Continue(()) => printed,
        ControlFlow::Break(written) => {
            written?;
            store.count(&filter, run.as_deref()).map_err(runs::failed)?
        }
    };
    out.flush()?;
    // Nobody may be reading stderr; the list is complete without it.
    let _ = writeln!(io::stderr(), "{}", summary(printed, total));
    Ok(Exit::Done)
}

fn summary(printed: u64, total: u64) -> String {
    let chains = if total == 1 { "chain" } else { "chains" };
    if printed < total {
        format!("{printed} of {total} {chains}")
    } else {
        format!("{total} {chains}")
    }
}

fn write_chain(
    out: &mut impl Write,
    chain: &ChainRow,
    width: Option<usize>,
    json: bool,
) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, chain)?;
        return writeln!(out);
    }
    let (state, colour) = match (chain.status, chain.stop_reason) {
        (ChainState::Running, _) => ("running", AnsiColor::Cyan),
        (ChainState::Failed, _) => ("failed", AnsiColor::Red),
        (ChainState::Done, Some(stop)) => (stop.as_str(), AnsiColor::Green),
        (ChainState::Done, None) => ("done", AnsiColor::Green),
    };
    let changed = chain
        .changed
        .map_or_else(String::new, |share| format!("{:.0}%", share * 100.0));
    let flags: Vec<_> = chain.flags.iter().copied().map(Flag::as_str).collect();
    let rest = line(
        &chain.rounds.to_string(),
        &changed,
        &chain.prompt,
        &[
            chain.violated.join(","),
            flags.join(","),
            chain.label.map_or("", Label::as_str).to_owned(),
        ],
        width,
    );
    let style = Style::new().fg_color(Some(colour.into()));
    let id = pad(&excerpt(&chain.chain_id, 16), 16);
    writeln!(out, "{id}  {style}{}{style:#}  {rest}", pad(state, 12))
}

fn header(width: Option<usize>) -> String {
    let last = ["VIOLATED", "FLAGS", "LABEL"].map(str::to_owned);
    let rest = line("ROUNDS", "CHANGED", "PROMPT", &last, width);
    format!("{}  {}  {rest}", pad("CHAIN", 16), pad("STATUS", 12))
}

/// A line from the third column on, cut to what the terminal has left.
fn line(
    rounds: &str,
    changed: &str,
    prompt: &str,
    last: &[String; 3],
    width: Option<usize>,
) -> String {
    let prompt_columns = width.map_or(PROMPT_COLUMNS, |width| {
        (width.saturating_sub(LEFT_COLUMNS) * 3 / 5).clamp(8, 80)
    });
    let prompt = pad(&excerpt(prompt, prompt_columns), prompt_columns);
    let [violated, flags, label] = last.each_ref().map(|text| excerpt(text, usize::MAX));
    let violated = if violated.is_empty() {
        "-".to_owned()
    } else {
        violated
    };
    let line = format!("{rounds:>6}  {changed:>7}  {prompt}  {violated}  {flags}  {label}");
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(16 + 12 + 4));
    fit(line.trim_end(), room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::StopReason;
    use unicode_width::UnicodeWidthStr;

    fn chain() -> ChainRow {
        ChainRow {
            chain_id: "0123456789abcdef".to_owned(),
            run_id: "run".to_owned(),
            prompt_id: "p\x1b[2J".to_owned(),
            prompt: "line one\n\x1b]0;title\x07 漢字 ".repeat(50),
            sample: 0,
            position: 0,
            status: ChainState::Done,
            stop_reason: Some(StopReason::RoundsDone),
            rounds: 2,
            draft: None,
            last: None,
            revised: true,
            changed: Some(0.345),
            length_ratio: None,
            regressions: 0,
            regressed: Vec::new(),
            violated: vec!["a".to_owned(), "b".to_owned()],
            flags: vec![Flag::Preamble],
            steps: 3,
            prompt_tokens: 0,
            cached_tokens: 0,
            tokens: 0,
            error: None,
            label: None,
            chosen: None,
            note: None,
        }
    }

    fn written(width: Option<usize>, json: bool) -> String {
        let mut out = Vec::new();
        write_chain(&mut out, &chain(), width, json).unwrap();
        anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
    }

    #[test]
    fn a_chain_is_one_line_that_fits_and_cannot_drive_the_terminal() {
        for width in [None, Some(200), Some(80), Some(40), Some(1)] {
            let text = written(width, false);
            let line = text.strip_suffix('\n').unwrap();
            assert!(!line.chars().any(char::is_control), "{line:?}");
            if let Some(width) = width.filter(|width| *width >= 40) {
                assert!(line.width() <= width, "{line:?}");
            }
        }
        let line = written(Some(200), false);
        assert!(
            line.starts_with("0123456789abcdef  rounds-done        2"),
            "{line}"
        );
        assert!(
            line.contains("34%") && line.ends_with("a,b  preamble\n"),
            "{line}"
        );
    }

    #[test]
    fn json_is_one_object_a_line_with_the_text_as_it_is() {
        let text = written(Some(80), true);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(value["prompt"], chain().prompt);
        assert_eq!(value["stop_reason"], "rounds-done");
        assert!(value.get("final").is_some());
    }

    #[test]
    fn the_help_names_every_key() {
        for key in crate::store::Filter::keys() {
            let named = |name: &str| {
                FILTER_HELP
                    .split([' ', '\n'])
                    .any(|word| word.strip_prefix(name).is_some_and(begins_with_an_operator))
            };
            assert!(named(key.names[0]), "{}", key.names[0]);
        }
    }

    fn begins_with_an_operator(text: &str) -> bool {
        text.starts_with([':', '<', '>', '='])
    }

    #[test]
    fn the_total_is_said() {
        assert_eq!(summary(1, 1), "1 chain");
        assert_eq!(summary(0, 0), "0 chains");
        assert_eq!(summary(20, 111), "20 of 111 chains");
    }
}

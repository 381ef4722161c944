//! `amend agreement`.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::json;

use super::chains::{ChainsArgs, Chosen};
use super::text::{Table, plural, terminal_width};
use super::{Exit, runs, stdout};
use crate::evaluation::{PrincipleAgreement, agreement};
use crate::statistics::Interval;
use crate::store::{NameCount, StoreError};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend label 7k2m disagree plain-words   say what you think of a verdict
  amend agreement                         how often you agree, per principle
  amend agreement --run 3k9 --json        one JSON object a line, the labels last

Kappa is Cohen's: agreement beyond what chance gives, from -1 to 1, with the 95 % interval of Fleiss, Cohen and
Everitt (1969), which is rough below some 30 verdicts. BEST P is the --threshold that would have agreed most
often on these same verdicts; on others it will agree less.")]
pub struct Args {
    /// Print one JSON object a line: the principles, all together, and the labels of the chains
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chains: ChainsArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit> {
    let Chosen { store, filter, run } = args.chains.open()?;
    let run = run.as_deref();
    // Chains may be labelled meanwhile, and the figures belong to each other.
    let read = || -> Result<_, StoreError> {
        Ok((
            store.judged(&filter, run)?,
            store.facets(&filter, run)?.labels,
        ))
    };
    let read = store.at_one_moment(read).map_err(runs::failed)?;
    let (judged, labels) = read.map_err(runs::failed)?;
    let figures = agreement(&judged);
    let mut out = stdout::as_asked(args.json);
    if args.json {
        for figures in &figures {
            let about = match figures.principle_id {
                Some(_) => "principle",
                None => "all",
            };
            writeln!(out, "{}", json!({"about": about, "agreement": figures}))?;
        }
        writeln!(out, "{}", json!({"about": "labels", "labels": labels}))?;
        return Ok(Exit::Done);
    }
    write_labels(&mut out, &labels)?;
    if figures.is_empty() {
        writeln!(
            out,
            "no verdict was judged yet; say what you think of one with amend label CHAIN agree PRINCIPLE, or disagree"
        )?;
        return Ok(Exit::Done);
    }
    writeln!(out)?;
    for line in table(&figures).lines(terminal_width()) {
        writeln!(out, "{line}")?;
    }
    Ok(Exit::Done)
}

fn write_labels(out: &mut impl Write, labels: &[NameCount]) -> io::Result<()> {
    let total: u64 = labels.iter().map(|label| label.count).sum();
    let parts: Vec<_> = labels
        .iter()
        .map(|label| format!("{} {}", label.name, label.count))
        .collect();
    match parts.is_empty() {
        true => writeln!(out, "labels    no chains"),
        false => writeln!(
            out,
            "labels    {}: {}",
            plural(total, "chain"),
            parts.join(", ")
        ),
    }
}

fn table(figures: &[PrincipleAgreement]) -> Table {
    let mut table = Table::new(&[
        "PRINCIPLE",
        ">JUDGED",
        ">VIOLATED",
        ">BY PEOPLE",
        ">AGREE",
        "95 %",
        ">KAPPA",
        "95 %",
        ">BEST P",
        ">AGREE THERE",
    ]);
    for of in figures {
        let (kappa, kappa_interval) = match &of.kappa {
            Some(kappa) => (
                format!("{:.2}", kappa.value),
                interval(Some(kappa.interval), 1.0),
            ),
            None => ("-".to_owned(), String::new()),
        };
        let (best, there) = of.best.map_or_else(Default::default, |best| {
            (threshold(best.value), percent(best.agreement))
        });
        table.row(vec![
            of.principle_id
                .clone()
                .unwrap_or_else(|| "(all)".to_owned()),
            of.table.total().to_string(),
            (of.table.both + of.table.only_first).to_string(),
            (of.table.both + of.table.only_second).to_string(),
            percent(of.agreement),
            interval(of.agreement_interval, 100.0),
            kappa,
            kappa_interval,
            best,
            there,
        ]);
    }
    table
}

/// With as many digits as it has: rounded further, it could decide otherwise.
fn threshold(value: f64) -> String {
    let (exact, short) = (value.to_string(), format!("{value:.2}"));
    if exact.len() > short.len() {
        exact
    } else {
        short
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn interval(interval: Option<Interval>, scale: f64) -> String {
    let digits = if scale > 1.0 { 0 } else { 2 };
    interval.map_or_else(String::new, |Interval { low, high }| {
        let (low, high) = (low * scale, high * scale);
        format!("[{low:.digits$}, {high:.digits$}]")
    })
}

#[cfg(test)]
mod tests {
    use super::threshold;

    #[test]
    fn a_threshold_has_the_digits_that_it_needs() {
        let printed = [0.3305, 0.5, 0.56, 1.0].map(threshold);
        assert_eq!(printed, ["0.3305", "0.50", "0.56", "1.00"]);
    }
}

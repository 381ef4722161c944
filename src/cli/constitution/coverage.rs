//! `amend constitution coverage`.

mod html;
mod page;

use std::collections::BTreeSet;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{print, print_data};
use crate::cli::chains::{ChainsArgs, Chosen};
use crate::cli::{Exit, runs};
use crate::constitution::Status;
use crate::evaluation::{Coverage, Findings};
use crate::store::{RunRow, Store};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution coverage                      all runs in amend.db
  amend constitution coverage --run 3k9            one run
  amend constitution coverage --format html > coverage.html

Which principle makes which other one fire shows in chains that ask about several and look again: runs with
--select all and two or more rounds, or with --recheck.")]
pub struct Args {
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    chains: ChainsArgs,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for people.
    Text,
    /// One JSON object.
    Json,
    /// One HTML file with heat maps, which needs nothing else.
    Html,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let Chosen { store, filter, run } = args.chains.open()?;
    let coverage = store
        .coverage(&filter, run.as_deref())
        .map_err(runs::failed)?;
    let about = About::new(&store, run.as_deref(), &coverage)?;
    match args.format {
        Format::Text => print(&page::render(&coverage, &about))?,
        Format::Json => print_data(&format!("{}\n", to_json(&coverage, &about)))?,
        Format::Html => print_data(&html::render(&coverage, &about))?,
    }
    Ok(Exit::Done)
}

/// What the coverage is about.
struct About {
    /// The runs.
    runs: Vec<RunRow>,
    /// Principles in the order of their constitutions, those of earlier versions last.
    order: Vec<String>,
    findings: Findings,
}

impl About {
    fn new(store: &Store, run: Option<&str>, coverage: &Coverage) -> anyhow::Result<Self> {
        let runs = store.runs().map_err(runs::failed)?;
        let wanted = |row: &RunRow| run.is_none_or(|run| run == row.run_id);
        let runs: Vec<RunRow> = runs.into_iter().filter(wanted).collect();
        let (mut order, mut active) = (Vec::new(), Vec::new());
        let (mut seen, mut digests) = (BTreeSet::new(), BTreeSet::new());
        // The latest run's constitution tells the order.
        for row in runs.iter().rev() {
            if !digests.insert(&row.constitution_digest) {
                continue;
            }
            let constitution = store.run(&row.run_id).map_err(runs::failed)?.constitution;
            for principle in constitution.principles {
                if seen.insert(principle.id.clone()) {
                    if principle.status == Status::Active {
                        active.push(principle.id.clone());
                    }
                    order.push(principle.id);
                }
            }
        }
        order.retain(|id| coverage.principles.contains_key(id));
        Ok(Self {
            findings: coverage.findings(&active),
            runs,
            order,
        })
    }

    /// What is said where there are no findings.
    fn nothing_stands_out(&self) -> &'static str {
        match self.order.is_empty() {
            true => "no principle was asked about",
            false => "every principle that was asked about fired sometimes, and not always",
        }
    }

    /// Principles that occur in the matrix, in order.
    fn in_matrix(&self, coverage: &Coverage) -> Vec<&str> {
        let occurs = |id: &&String| {
            coverage.retriggers.contains_key(*id)
                || coverage
                    .retriggers
                    .values()
                    .any(|row| row.contains_key(*id))
        };
        self.order
            .iter()
            .filter(occurs)
            .map(String::as_str)
            .collect()
    }
}

fn to_json(coverage: &Coverage, about: &About) -> Value {
    let principles: Vec<Value> = about
        .order
        .iter()
        .filter_map(|id| {
            let mut value = serde_json::to_value(coverage.principles.get(id)?).ok()?;
            value["id"] = json!(id);
            Some(value)
        })
        .collect();
    json!({
        "runs": about.runs.iter().map(|run| &run.run_id).collect::<Vec<_>>(),
        "chains": coverage.chains,
        "principles": principles,
        "retriggers": coverage.retriggers,
        "findings": about.findings,
    })
}

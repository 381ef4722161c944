//! `amend constitution test --history`: accuracy from wording to wording.

use std::io::Write;

use anyhow::{anyhow, bail};
use serde_json::json;

use super::{Args, Format};
use crate::cli::constitution::trial;
use crate::cli::exit::usage;
use crate::cli::text::{Table, terminal_width};
use crate::cli::{Exit, runs, stdout};
use crate::statistics::{Interval, wilson};
use crate::store::{Store, StoreError, TestHistory};

/// Prints the history of the constitution's name.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.format == Format::Junit {
        bail!(usage(anyhow!("--history knows --format text and json")));
    }
    let constitution = trial::read(&args.constitution)?.resolved.constitution;
    let current = constitution.digest();
    let store = open(args)?;
    let history = store
        .test_history(&constitution.name)
        .map_err(runs::failed)?;
    if args.format == Format::Json {
        let rows: Vec<_> = history
            .iter()
            .map(|row| {
                let mut value = serde_json::to_value(row)?;
                value["accuracy"] = json!(accuracy(row));
                value["interval"] = json!(interval(row));
                value["current"] = json!(row.constitution_digest == current.as_str());
                Ok(value)
            })
            .collect::<serde_json::Result<_>>()?;
        let line = json!({ "constitution": constitution.name, "digest": current, "history": rows });
        stdout::line(&line)?;
        return Ok(Exit::Done);
    }
    let mut out = stdout::styled();
    if history.is_empty() {
        writeln!(
            out,
            "no tests of `{}` in {}; `amend constitution test {}` runs them",
            constitution.name,
            args.db.db.display(),
            args.constitution
        )?;
        return Ok(Exit::Done);
    }
    for line in table(&history, current.as_str()).lines(terminal_width()) {
        writeln!(out, "{line}")?;
    }
    Ok(Exit::Done)
}

/// The store. Where there is none yet, the same command without `--history` makes one.
fn open(args: &Args) -> anyhow::Result<Store> {
    Store::open_read(&args.db.db).map_err(|error| match error {
        StoreError::Missing(path) | StoreError::Empty(path) => usage(anyhow!(
            "no store at {}, so nothing was tested; `amend constitution test {}` makes one, and --db names another",
            path.display(),
            args.constitution
        )),
        error => runs::failed(error),
    })
}

fn table(history: &[TestHistory], current: &str) -> Table {
    let mut table = Table::new(&[
        "CONSTITUTION",
        "VERSION",
        "LAST TESTED",
        ">RUNS",
        ">TESTS",
        ">ACCURACY",
        "95 %",
        ">THRESHOLD",
        "PACK",
        "MODEL",
    ]);
    for row in history {
        let short: String = row.constitution_digest.chars().take(15).collect();
        let now = if row.constitution_digest == current {
            " (now)"
        } else {
            ""
        };
        let tests = match row.tests == row.tests_written {
            true => row.tests.to_string(),
            false => format!("{} of {}", row.tests, row.tests_written),
        };
        table.row(vec![
            format!("{short}{now}"),
            row.constitution_version.clone(),
            row.last.clone(),
            row.runs.to_string(),
            tests,
            accuracy(row).map_or_else(|| "-".to_owned(), |a| format!("{:.0} %", 100.0 * a)),
            interval(row).map_or_else(String::new, |i| {
                format!("{:.0} to {:.0} %", 100.0 * i.low, 100.0 * i.high)
            }),
            row.config["threshold"].to_string(),
            row.pack.clone(),
            row.model.clone(),
        ]);
    }
    table
}

fn accuracy(row: &TestHistory) -> Option<f64> {
    (row.tests > 0).then(|| row.correct / row.tests as f64)
}

fn interval(row: &TestHistory) -> Option<Interval> {
    wilson(row.correct.round() as u64, row.tests)
}

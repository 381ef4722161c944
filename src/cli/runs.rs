//! `amend runs`.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::text::{Table, terminal_width};
use super::{DbArg, Exit, exit, stdout};
use crate::store::{RunLock, RunRow, RunState, Store, StoreError};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend runs                 the runs in amend.db, oldest first
  amend runs --db other.db   those of another store
  amend runs --json          one JSON object a line")]
pub struct Args {
    #[command(flatten)]
    db: DbArg,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A run with what only this moment knows.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    row: &'a RunRow,
    /// Whether a process works on it now.
    active: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Exit> {
    let store = open(&args.db)?;
    let runs = store.runs().map_err(failed)?;
    let mut out = stdout::as_asked(args.json);
    let mut table = Table::new(&[
        "RUN",
        "STATE",
        ">DONE",
        ">FAILED",
        ">CHAINS",
        "MODEL",
        "CONSTITUTION",
        "PACK",
        "PROMPTS",
        "BEGUN",
    ]);
    for row in &runs {
        let active = RunLock::is_held(&args.db.db, &row.run_id);
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&Line { row, active })?)?;
            continue;
        }
        // A run whose process was killed had no time to say so.
        let state = match row.state {
            RunState::Running if !active => RunState::Interrupted,
            state => state,
        };
        table.row(vec![
            row.run_id.clone(),
            state.as_str().to_owned(),
            row.done.to_string(),
            row.failed.to_string(),
            row.chains.to_string(),
            row.model.clone(),
            format!("{} {}", row.constitution, row.constitution_version),
            row.pack.clone(),
            row.prompts_path.clone(),
            row.created_at.clone(),
        ]);
    }
    if !args.json {
        for line in table.lines(terminal_width()) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(Exit::Done)
}

/// Opens the store that `--db` names, for reading.
pub fn open(db: &DbArg) -> Result<Store> {
    Store::open_read(&db.db).map_err(failed)
}

/// An error of the store with its exit code: what the person named, or what the machine did.
pub fn failed(error: StoreError) -> anyhow::Error {
    if error.is_input() {
        exit::usage(error)
    } else {
        error.into()
    }
}

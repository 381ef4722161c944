//! The history of a chain's labels.

use std::io::Write;

use anyhow::Result;

use crate::chain::ChainId;
use crate::cli::text::{Table, terminal_width};
use crate::cli::{Exit, runs, stdout};
use crate::store::{LabelEntry, Store};

/// Prints all entries of the given chains.
pub fn print(store: &Store, chains: &[ChainId], json: bool) -> Result<Exit> {
    let mut out = stdout::as_asked(json);
    let mut table = Table::new(&["CHAIN", ">#", "WHEN", "WHO", "ACTION", "ABOUT", "TEXT"]);
    let mut entries = 0;
    for chain in chains {
        for entry in store.history(chain).map_err(runs::failed)? {
            entries += 1;
            if json {
                writeln!(out, "{}", serde_json::to_string(&entry)?)?;
            } else {
                table.row(cells(&entry));
            }
        }
    }
    if !json && entries > 0 {
        for line in table.lines(terminal_width()) {
            writeln!(out, "{line}")?;
        }
    } else if !json {
        writeln!(out, "no label")?;
    }
    Ok(Exit::Done)
}

fn cells(entry: &LabelEntry) -> Vec<String> {
    let step = entry.step.map(|step| {
        let principle = entry.principle_id.as_deref().unwrap_or_default();
        format!("step {step} {principle}")
    });
    let undoes = entry.undoes.map(|undone| format!("#{undone}"));
    let taken_back = if entry.standing || entry.undoes.is_some() {
        ""
    } else {
        " (taken back)"
    };
    vec![
        entry.chain_id.clone(),
        entry.ordinal.to_string(),
        entry.at.clone(),
        entry.who.clone(),
        format!("{}{taken_back}", entry.action.as_str()),
        step.or(undoes).unwrap_or_default(),
        entry.text.clone().unwrap_or_default(),
    ]
}

//! Which chains of which store: options that every command has that reads chains.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::DbArg;
use super::exit::{Finished, usage};
use super::text::sanitize;
use super::{runs, stdout};
use crate::store::{Filter, Store};

/// Options that choose chains.
#[derive(Clone, Debug, Args)]
pub struct ChainsArgs {
    /// Only chains of this run: its id, or the beginning of it
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    condition: ConditionArgs,
    #[command(flatten)]
    db: DbArg,
}

/// A filter, and what is wanted of it.
#[derive(Clone, Debug, Args)]
pub struct ConditionArgs {
    /// Only chains that match this filter; `amend ls --help` explains filters
    #[arg(
        long = "where",
        value_name = "EXPR",
        default_value = "",
        hide_default_value = true
    )]
    condition: String,
    /// Print the SQL that the filter becomes, with its parameters, and do nothing else
    #[arg(long)]
    explain: bool,
}

/// A store that is open, and what was chosen of it.
pub struct Chosen {
    /// The store.
    pub store: Store,
    /// The filter.
    pub filter: Filter,
    /// The run, by its whole id; `None` for all.
    pub run: Option<String>,
}

impl ChainsArgs {
    /// Reads the filter and opens the store. A mistake in either is one of usage. With `--explain` the
    /// command ends here.
    pub fn open(&self) -> Result<Chosen> {
        self.open_with("")
    }

    /// The same with a further condition, which chains must also meet.
    pub fn open_with(&self, condition: &str) -> Result<Chosen> {
        let filter = parse(condition)?.and(self.condition.parse()?);
        let store = runs::open(&self.db)?;
        let run = self.run.as_deref().map(|run| store.resolve_run(run));
        let run = run.transpose().map_err(runs::failed)?;
        self.condition.explain(&filter, run.as_deref())?;
        Ok(Chosen { store, filter, run })
    }

    /// Whether a filter or a run was named.
    pub fn are_given(&self) -> bool {
        self.run.is_some() || self.condition.is_given()
    }

    /// The file of the store.
    pub fn db(&self) -> &std::path::Path {
        &self.db.db
    }
}

impl ConditionArgs {
    /// Reads the filter.
    pub fn parse(&self) -> Result<Filter> {
        parse(&self.condition)
    }

    /// Whether there is a filter, or one is to be explained.
    pub fn is_given(&self) -> bool {
        !self.condition.trim().is_empty() || self.explain
    }

    /// With `--explain`: prints what a filter becomes, and ends the command.
    pub fn explain(&self, filter: &Filter, run: Option<&str>) -> Result<()> {
        if !self.explain {
            return Ok(());
        }
        let explained = filter.explain(run);
        let mut out = stdout::styled();
        writeln!(out, "{};", sanitize(&explained.sql))?;
        for (number, value) in (1..).zip(&explained.params) {
            writeln!(
                out,
                "-- ?{number} = {}",
                sanitize(&value.replace('\n', "␊"))
            )?;
        }
        out.flush()?;
        Err(anyhow::Error::new(Finished))
    }
}

fn parse(source: &str) -> Result<Filter> {
    Filter::parse(source).map_err(usage)
}

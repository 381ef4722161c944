//! Which chains of which store: options that every command has that reads chains.

use anyhow::Result;
use clap::Args;

use super::DbArg;
use super::exit::usage;
use super::runs;
use crate::store::{Filter, Store};

/// Options that choose chains.
#[derive(Clone, Debug, Args)]
pub struct ChainsArgs {
    /// Only chains of this run: its id, or the beginning of it
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only chains that match this filter; `amend ls --help` explains filters
    #[arg(
        long = "where",
        value_name = "EXPR",
        default_value = "",
        hide_default_value = true
    )]
    condition: String,
    #[command(flatten)]
    db: DbArg,
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
    /// The file of the store.
    pub fn db(&self) -> &std::path::Path {
        &self.db.db
    }

    /// Reads the filter and opens the store. A mistake in either is one of usage.
    pub fn open(&self) -> Result<Chosen> {
        self.open_with("")
    }

    /// The same with a further condition, which chains must also meet.
    pub fn open_with(&self, condition: &str) -> Result<Chosen> {
        let filter = parse(condition)?.and(parse(&self.condition)?);
        let store = runs::open(&self.db)?;
        let run = self.run.as_deref().map(|run| store.resolve_run(run));
        let run = run.transpose().map_err(runs::failed)?;
        Ok(Chosen { store, filter, run })
    }
}

fn parse(source: &str) -> Result<Filter> {
    Filter::parse(source).map_err(usage)
}

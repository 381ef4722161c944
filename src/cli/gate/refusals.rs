//! The model that is asked about refusals.

use clap::Parser;

use crate::cli::args::ModelArgs;
use crate::cli::backend::{self, Hints, Loaded};
use crate::cli::exit::usage;
use crate::quality::gates::{Asked, ask_refusals};
use crate::store::{Filter, Store};

/// The options of a model, by themselves.
#[derive(Parser)]
struct Only {
    #[command(flatten)]
    model: ModelArgs,
}

/// A model, or a server at an address, and what it said.
pub struct Judge {
    loaded: Loaded,
    asked: Asked,
}

impl Judge {
    /// Loads what is named.
    pub fn load(name: &str) -> anyhow::Result<Self> {
        let server = name.starts_with("http://") || name.starts_with("https://");
        let option = if server { "--endpoint" } else { "--model" };
        let only = Only::try_parse_from(["amend", option, name]).map_err(usage)?;
        Ok(Self {
            loaded: backend::load(&only.model, false, Hints::default())?,
            asked: Asked::new(),
        })
    }

    /// Asks about the replies to benign prompts that it was not asked about before. All that it said.
    pub fn ask(
        &mut self,
        store: &Store,
        filter: &Filter,
        run: Option<&str>,
    ) -> anyhow::Result<&Asked> {
        ask_refusals(store, filter, run, self.loaded.backend(), &mut self.asked)?;
        Ok(&self.asked)
    }
}

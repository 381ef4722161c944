//! `--drafts-from`: prompts and drafts of a stored run in place of a prompt file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec::IntoIter;

use anyhow::{Context, anyhow, bail};

use crate::chain::{ChainId, ChainStart};
use crate::engine::config::{DraftsConfig, RunConfig};
use crate::engine::machine::Plan;
use crate::engine::{RecordError, Task};
use crate::prompt::Prompt;
use crate::store::{Draft, Drafts, Store};

use super::exit::usage;
use super::runs;

/// The drafts of a run, and how that run came to its prompts.
pub struct DraftInput {
    /// Where the run is.
    db: PathBuf,
    /// The prompt file of the run, as it was named.
    pub prompts_path: String,
    /// The run's configuration.
    pub config: RunConfig,
    /// Its drafts.
    pub drafts: Drafts,
}

impl DraftInput {
    /// Finds the run in the store. A run without a single draft is an error of input.
    pub fn open(db: &Path, run: &str) -> anyhow::Result<Self> {
        let store = Store::open_read(db).map_err(runs::failed)?;
        let id = store.resolve_run(run).map_err(runs::failed)?;
        let detail = store.run(&id).map_err(runs::failed)?;
        let config = serde_json::from_value(detail.config)
            .with_context(|| {
                format!("--drafts-from {id}: this version cannot read its configuration")
            })
            .map_err(usage)?;
        let drafts = store.drafts(&id).map_err(runs::failed)?;
        if drafts.chains.is_empty() {
            bail!(usage(anyhow!(
                "--drafts-from: run {id} has no draft yet; `amend resume {id}` continues it"
            )));
        }
        Ok(Self {
            db: db.to_owned(),
            prompts_path: detail.row.prompts_path,
            config,
            drafts,
        })
    }

    /// What tells a run over these drafts apart.
    pub fn identity(&self) -> DraftsConfig {
        DraftsConfig {
            run: self.drafts.run_id.clone(),
            digest: self.drafts.digest.clone(),
        }
    }

    /// The drafts, one at a time.
    pub fn iter(&self) -> anyhow::Result<DraftIter> {
        Ok(DraftIter {
            store: Store::open_read(&self.db).map_err(runs::failed)?,
            chains: self.drafts.chains.clone().into_iter(),
        })
    }
}

/// The drafts of a run, read when they are needed.
pub struct DraftIter {
    store: Store,
    chains: IntoIter<ChainId>,
}

impl Iterator for DraftIter {
    type Item = anyhow::Result<Draft>;

    fn next(&mut self) -> Option<Self::Item> {
        let chain = self.chains.next()?;
        Some(self.store.draft(&chain).map_err(runs::failed))
    }
}

/// The chains of a run over drafts.
pub struct DraftTasks {
    /// The drafts.
    pub drafts: DraftIter,
    /// The id of the run.
    pub run_id: String,
    /// What the chains follow.
    pub plan: Arc<Plan>,
}

impl Iterator for DraftTasks {
    type Item = Result<Task, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let draft = match self.drafts.next()? {
            Ok(draft) => draft,
            Err(error) => return Some(Err(error.into())),
        };
        let Draft {
            prompt,
            sample,
            position,
            step,
        } = draft;
        let start = ChainStart {
            id: ChainId::new(&self.run_id, &prompt.id, sample),
            position,
            prompt,
            sample,
        };
        Some(Ok(Task {
            plan: Arc::clone(&self.plan),
            start,
            draft: Some(step),
        }))
    }
}

/// Every prompt of the drafts, once for each of its samples.
pub fn prompts(
    input: &DraftInput,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Prompt>> + use<>> {
    Ok(input.iter()?.map(|draft| Ok(draft?.prompt)))
}

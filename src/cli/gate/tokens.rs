//! The tokenizer and the chat template of the model that wrote the chains.

use anyhow::{Context, bail};

use crate::backend::llama::tokenizer::Tokenizer;
use crate::backend::llama::{chat_template, gguf};
use crate::chat_template::ChatTemplate;
use crate::cli::args::{BackendKind, TemplateArgs};
use crate::cli::job::stored_args;
use crate::cli::{backend, model, runs};
use crate::generation::Message;
use crate::store::{Filter, Store};

/// Counts tokens as a model would see them.
pub struct TokenCounter {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    /// What the model was called.
    pub name: String,
}

impl TokenCounter {
    /// The vocabulary of the model that wrote the matching chains, or of the one that is named. Only a model that
    /// is on disk is taken.
    pub fn load(
        store: &Store,
        filter: &Filter,
        run: Option<&str>,
        named: Option<&str>,
    ) -> anyhow::Result<Self> {
        let (reference, template) = match named {
            Some(name) => (model::reference(Some(name), None)?, TemplateArgs::default()),
            None => of_runs(store, filter, run)?,
        };
        let path = model::resolve_with_bar(&reference, true)?;
        let info = gguf::inspect(&path)?;
        let tokenizer = Tokenizer::open(&path)?;
        let template = chat_template(&tokenizer, &backend::template_choice(&template)?)?;
        Ok(Self {
            name: format!("{} {}", info.name, info.quantisation),
            tokenizer,
            template,
        })
    }

    /// The tokens of a text by itself.
    pub fn count_text(&self, text: &str) -> u32 {
        u32::try_from(self.tokenizer.encode_continuation(text).len()).unwrap_or(u32::MAX)
    }

    /// The tokens of a conversation that ends with the model's message.
    pub fn count(&self, messages: &[Message]) -> Result<u32, String> {
        let spans = self
            .template
            .render(messages, false)
            .map_err(|error| error.to_string())?;
        Ok(u32::try_from(self.tokenizer.encode(&spans).len()).unwrap_or(u32::MAX))
    }
}

/// The one model of the runs, and the template that it was given.
fn of_runs(
    store: &Store,
    filter: &Filter,
    run: Option<&str>,
) -> anyhow::Result<(crate::backend::llama::model_ref::ModelRef, TemplateArgs)> {
    let run_ids = store.runs_with(filter, run).map_err(runs::failed)?;
    let mut found: Option<(String, crate::cli::args::ModelArgs)> = None;
    for run_id in &run_ids {
        let detail = store.run(run_id).map_err(runs::failed)?;
        let digest = detail.row.model_digest.clone();
        match &found {
            Some((known, _)) if *known != digest => {
                bail!("the chains were written by several models")
            }
            Some(_) => {}
            None => found = Some((digest, stored_args(&detail.execution)?.model)),
        }
    }
    let (_, args) = found.context("there is no chain")?;
    if args.backend == BackendKind::Scripted {
        bail!("the chains were written by a script");
    }
    if args.endpoint.endpoint.is_some() {
        bail!("the chains were written over a server");
    }
    let reference = model::reference(Some(&args.model), args.hf_repo.as_deref())?;
    Ok((reference, args.template))
}

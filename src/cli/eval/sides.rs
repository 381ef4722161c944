//! The two sides of an evaluation, and who judges them.

use anyhow::{anyhow, bail};

use crate::backend::llama::{AdapterOptions, LlamaOptions};
use crate::cli::args::{BackendKind, ModelArgs, TemplateArgs};
use crate::cli::backend::{self, Hints};
use crate::cli::exit::usage;
use crate::cli::lora::LoraArgs;

/// What `--against` calls the model without an adapter.
const NONE: &str = "none";

/// One side: a model, and an adapter or none.
pub struct Side {
    /// The options that load it.
    pub model: ModelArgs,
    /// Its adapter.
    pub adapter: Option<AdapterOptions>,
}

/// The sides, and who judges.
pub struct Sides {
    /// What it is compared with; `None` where only one side is measured.
    pub before: Option<Side>,
    /// What is measured.
    pub after: Side,
    /// Who judges.
    pub judge: ModelArgs,
    /// Whether the judge is the model without an adapter.
    pub judges_itself: bool,
}

impl Sides {
    /// From the options. No model is loaded.
    pub fn new(model: &ModelArgs, against: &str, judge: Option<&str>) -> anyhow::Result<Self> {
        if !model.lora.roles.is_empty() {
            bail!(usage(anyhow!(
                "--role names steps of a chain, and here an adapter writes answers only; use --lora"
            )));
        }
        let remote = model.endpoint.endpoint.is_some();
        if remote && (model.lora.any() || against != NONE) {
            bail!(usage(anyhow!(
                "adapters are loaded in this process, and --endpoint names a server; leave out --lora and --against"
            )));
        }
        let with = |lora: LoraArgs| -> anyhow::Result<Side> {
            Ok(Side {
                adapter: lora.resolve()?.load.into_iter().next(),
                model: ModelArgs {
                    lora,
                    ..model.clone()
                },
            })
        };
        let after = with(model.lora.clone())?;
        let before = match against {
            NONE => after.adapter.is_some().then(|| with(LoraArgs::default())),
            file => Some(with(LoraArgs {
                lora: Some(file.to_owned()),
                ..LoraArgs::default()
            })),
        }
        .transpose()?;
        if let Some(before) = &before
            && before.adapter == after.adapter
        {
            bail!(usage(anyhow!(
                "--lora and --against name the same adapter at the same scale; there is nothing to compare"
            )));
        }
        let plain = ModelArgs {
            lora: LoraArgs::default(),
            ..model.clone()
        };
        Ok(Self {
            before,
            after,
            judges_itself: judge.is_none(),
            judge: match judge {
                None => plain,
                Some(judge) => ModelArgs {
                    model: judge.to_owned(),
                    hf_repo: None,
                    // A template that replaces that of one model does not fit another.
                    template: TemplateArgs {
                        chat_template_date: plain.template.chat_template_date,
                        ..TemplateArgs::default()
                    },
                    ..plain
                },
            },
        })
    }

    /// Whether drift can be told: two sides, whose logits are at hand.
    pub fn drifts(&self) -> bool {
        self.before.is_some() && self.after.model.backend == BackendKind::Llama
    }

    /// How to load the model for reading texts.
    pub fn options(&self) -> anyhow::Result<LlamaOptions> {
        let plain = ModelArgs {
            lora: LoraArgs::default(),
            ..self.after.model.clone()
        };
        backend::llama_options(&plain, false, Hints::default())
    }

    /// What the side before is called.
    pub fn label_before(&self) -> Option<String> {
        self.before.as_ref().map(Side::label)
    }

    /// What the side after is called.
    pub fn label_after(&self) -> String {
        self.after.label()
    }
}

impl Side {
    /// Its adapter's file and scale, or that it has none.
    pub fn label(&self) -> String {
        let Some(adapter) = &self.adapter else {
            return "no adapter".to_owned();
        };
        let name = adapter.path.file_name().unwrap_or(adapter.path.as_os_str());
        match adapter.scale.to_bits() == 1.0_f32.to_bits() {
            true => name.to_string_lossy().into_owned(),
            false => format!("{} × {}", name.to_string_lossy(), adapter.scale),
        }
    }
}

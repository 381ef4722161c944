//! Ready configurations for the trainers, beside the rows, and what to do next with them.
//!
//! All of them train a LoRA adapter on linear layers, leave embeddings alone and add no token, so that the
//! adapter converts to GGUF.

mod axolotl;
mod llamafactory;
mod mlx;
mod next_steps;
mod trl;

use super::format::Format;
use super::manifest::{Manifest, SplitEntry};
use super::table::Kind;

/// The rate at which an adapter learns from answers.
const LEARNING_RATE: &str = "2e-4";

/// The rate at which it learns from preferences, which pull harder.
const PREFERENCE_RATE: &str = "5e-6";

/// Every file that goes with a dataset: its name and its text.
pub(super) fn files(format: Format, kind: Kind, manifest: &Manifest) -> Vec<(String, String)> {
    let recipe = Recipe {
        format,
        kind,
        manifest,
    };
    let mut files = match format {
        Format::TrlSft | Format::HfCai | Format::Critic => trl::files(&recipe, "sft"),
        Format::TrlDpo => trl::files(&recipe, "dpo"),
        Format::TrlReward => trl::files(&recipe, "reward"),
        Format::TrlKto => trl::files(&recipe, "kto"),
        Format::AxolotlSft | Format::AxolotlDpo | Format::AxolotlKto | Format::TrlPrm => {
            axolotl::files(&recipe)
        }
        Format::LlamafactorySft | Format::LlamafactoryDpo | Format::Alpaca => {
            llamafactory::files(&recipe)
        }
        Format::Mlx => mlx::files(&recipe),
        // Their trainers are elsewhere, or need a reward of the person's own.
        Format::TrlPrompts | Format::OpenaiSft | Format::OpenaiDpo => Vec::new(),
    };
    files.push((next_steps::FILE.to_owned(), next_steps::text(&recipe)));
    files
}

/// What configurations are made from.
struct Recipe<'a> {
    format: Format,
    kind: Kind,
    manifest: &'a Manifest,
}

impl<'a> Recipe<'a> {
    /// The split that is trained on.
    fn train(&self) -> Option<&'a SplitEntry> {
        let preferred = match self.format {
            Format::HfCai => "train_sft",
            _ => "train",
        };
        let splits = &self.manifest.splits;
        splits
            .iter()
            .find(|split| split.name == preferred)
            .or(splits.first())
    }

    /// The split that is evaluated on.
    fn evaluation(&self) -> Option<&'a SplitEntry> {
        let names: &[&str] = match self.format {
            Format::HfCai => &["valid_sft", "validation_sft", "eval_sft", "test_sft"],
            _ => &["valid", "validation", "eval", "test"],
        };
        let splits = &self.manifest.splits;
        let train = self.train().map(|split| &split.name);
        let named = |name: &&str| splits.iter().find(|split| split.name == **name);
        names
            .iter()
            .find_map(named)
            .filter(|split| Some(&split.name) != train)
    }

    /// Rows of a step that the dataset has enough of.
    fn batch(&self) -> u64 {
        self.train().map_or(1, |split| split.rows.clamp(1, 4))
    }

    /// The name under which the `datasets` library knows the files.
    fn loader(&self) -> &'static str {
        match self.kind {
            Kind::Jsonl => "json",
            Kind::Csv => "csv",
            Kind::Parquet => "parquet",
        }
    }
}

#[cfg(test)]
mod tests;

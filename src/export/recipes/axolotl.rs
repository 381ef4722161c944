//! A configuration for axolotl.

use super::{LEARNING_RATE, PREFERENCE_RATE, Recipe};
use crate::digest::Digest;
use crate::export::format::Format;
use crate::export::manifest::SplitEntry;
use crate::export::table::Kind;

/// Its file name.
pub(super) const FILE: &str = "axolotl.yaml";

/// `axolotl.yaml`; none for CSV files, whose lists axolotl cannot read.
pub(super) fn files(recipe: &Recipe<'_>) -> Vec<(String, String)> {
    let Some(train) = recipe.train().filter(|_| recipe.kind != Kind::Csv) else {
        return Vec::new();
    };
    let rate = if prefers(recipe.format) {
        PREFERENCE_RATE
    } else {
        LEARNING_RATE
    };
    let mut text = String::from(
        "# A LoRA run with axolotl on the rows beside this file. Run it in this folder:\n\
         #   axolotl train axolotl.yaml\n\
         # Set the model that the chains were written by, or the one that you want to train.\n\
         base_model: HuggingFaceTB/SmolLM2-135M-Instruct\n\n",
    );
    text.push_str(trainer(recipe.format));
    text.push_str("datasets:\n");
    text.push_str(&dataset(recipe, train));
    if let Some(evaluation) = recipe.evaluation() {
        text.push_str("test_datasets:\n");
        text.push_str(&dataset(recipe, evaluation));
    }
    text.push_str(&format!(
        "dataset_prepared_path: ../axolotl-prepared/{}\noutput_dir: ../axolotl-adapter\n\n\
         adapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_dropout: 0.0\n\
         # Linear layers alone: embeddings stay as they are and no token is added, so that the adapter converts to GGUF.\n\
         lora_target_linear: true\n\n\
         sequence_len: 1024\nsample_packing: false\nmicro_batch_size: {}\ngradient_accumulation_steps: 1\n\
         num_epochs: 1\nlearning_rate: {rate}\noptimizer: adamw_torch\nlr_scheduler: cosine\n\
         logging_steps: 1\nbf16: auto\ntf32: false\ngradient_checkpointing: true\nseed: 0\n",
        rows(recipe).short(),
        recipe.batch()
    ));
    vec![(FILE.to_owned(), text)]
}

/// The digest of all rows. What axolotl made of rows it finds again by its configuration alone, which is the same for
/// whatever is exported: without a place for each dataset it would train on the rows of an earlier one.
fn rows(recipe: &Recipe<'_>) -> Digest {
    let splits = recipe.manifest.splits.iter();
    let digests: Vec<&str> = splits
        .flat_map(|split| &split.files)
        .filter_map(|name| recipe.manifest.files.iter().find(|file| file.name == *name))
        .map(|file| file.b3.as_str())
        .collect();
    Digest::of(&digests)
}

fn prefers(format: Format) -> bool {
    matches!(format, Format::AxolotlDpo | Format::AxolotlKto)
}

fn trainer(format: Format) -> &'static str {
    match format {
        Format::AxolotlDpo => "rl: dpo\nrl_beta: 0.1\nchat_template: tokenizer_default\n",
        Format::AxolotlKto => {
            "# chatml.ultra writes ChatML, whatever template the model has; llama3.ultra writes that of Llama 3.\nrl: kto\nrl_beta: 0.1\nkto_desirable_weight: 1.0\nkto_undesirable_weight: 1.0\nremove_unused_columns: false\n"
        }
        Format::TrlPrm => {
            "process_reward_model: true\nnum_labels: 2\nmodel_type: AutoModelForTokenClassification\n"
        }
        _ => "chat_template: tokenizer_default\n",
    }
}

fn dataset(recipe: &Recipe<'_>, split: &SplitEntry) -> String {
    let kind = match recipe.format {
        Format::AxolotlDpo => "type: chat_template.default",
        // It has no type that takes the model's own template.
        Format::AxolotlKto => "type: chatml.ultra",
        Format::TrlPrm => "type: stepwise_supervised\n    step_separator: \"\\n\"",
        _ => "type: chat_template",
    };
    if prefers(recipe.format) {
        // For preferences axolotl forgets `ds_type`, and goes by the ending of the path.
        let entry = |file: &String| format!("  - path: {file}\n    split: train\n    {kind}\n");
        return split.files.iter().map(entry).collect();
    }
    let files: String = split
        .files
        .iter()
        .map(|file| format!("      - {file}\n"))
        .collect();
    format!(
        "  - path: .\n    ds_type: {}\n    data_files:\n{files}    split: train\n    {kind}\n",
        recipe.loader()
    )
}

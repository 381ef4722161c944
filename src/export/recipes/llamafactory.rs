//! A configuration for LLaMA-Factory, and the entry in its list of datasets.

use serde_json::{Map, Value, json};

use super::{LEARNING_RATE, PREFERENCE_RATE, Recipe};
use crate::export::format::Format;
use crate::export::manifest::SplitEntry;
use crate::export::table::Kind;

/// The configuration's file name.
pub(super) const FILE: &str = "llamafactory.yaml";

/// The list of datasets.
pub(super) const INFO: &str = "dataset_info.json";

/// `llamafactory.yaml` and `dataset_info.json`; none for CSV files, whose lists it cannot read.
pub(super) fn files(recipe: &Recipe<'_>) -> Vec<(String, String)> {
    let Some(train) = recipe.train().filter(|_| recipe.kind != Kind::Csv) else {
        return Vec::new();
    };
    let preferences = recipe.format == Format::LlamafactoryDpo;
    let (stage, rate) = match preferences {
        true => (
            "stage: dpo\npref_beta: 0.1\npref_loss: sigmoid",
            PREFERENCE_RATE,
        ),
        false => ("stage: sft", LEARNING_RATE),
    };
    let evaluation = recipe.evaluation().map_or(String::new(), |split| {
        format!(
            "eval_dataset: {}\neval_strategy: epoch\n",
            names(split).join(",")
        )
    });
    let text = format!(
        "# A LoRA run with LLaMA-Factory on the rows beside this file. Run it in this folder:\n\
         #   llamafactory-cli train {FILE}\n\
         # Set the model that the chains were written by, or the one that you want to train, and its template.\n\
         model_name_or_path: HuggingFaceTB/SmolLM2-135M-Instruct\ntemplate: smollm2\n\n\
         {stage}\ndo_train: true\ndataset_dir: .\ndataset: {}\n{evaluation}cutoff_len: 1024\n\
         output_dir: ../llamafactory-adapter\noverwrite_output_dir: true\n\n\
         finetuning_type: lora\nlora_rank: 8\nlora_alpha: 16\nlora_dropout: 0.0\n\
         # Linear layers alone: embeddings stay as they are and no token is added, so that the adapter converts to GGUF.\n\
         lora_target: all\nresize_vocab: false\n\n\
         per_device_train_batch_size: {}\ngradient_accumulation_steps: 1\nnum_train_epochs: 1.0\n\
         learning_rate: {rate}\nlr_scheduler_type: cosine\nlogging_steps: 1\nsave_strategy: epoch\nreport_to: none\n\
         seed: 0\n",
        names(train).join(","),
        recipe.batch()
    );
    let mut info = Map::new();
    for split in &recipe.manifest.splits {
        for (name, file) in names(split).into_iter().zip(&split.files) {
            info.insert(name, entry(recipe.format, file));
        }
    }
    let info = serde_json::to_string_pretty(&Value::Object(info)).unwrap_or_default() + "\n";
    vec![(FILE.to_owned(), text), (INFO.to_owned(), info)]
}

/// What the files of a split are called in the list of datasets.
fn names(split: &SplitEntry) -> Vec<String> {
    match split.files.len() {
        1 => vec![format!("amend_{}", split.name)],
        files => (0..files)
            .map(|index| format!("amend_{}_{index:05}", split.name))
            .collect(),
    }
}

fn entry(format: Format, file: &str) -> Value {
    match format {
        Format::Alpaca => json!({
            "file_name": file,
            "formatting": "alpaca",
            "columns": {
                "prompt": "instruction", "query": "input", "response": "output", "system": "system",
                "history": "history",
            },
        }),
        Format::LlamafactoryDpo => json!({
            "file_name": file,
            "formatting": "sharegpt",
            "ranking": true,
            "columns": {
                "messages": "conversations", "chosen": "chosen", "rejected": "rejected", "system": "system",
            },
            "tags": tags(),
        }),
        _ => json!({
            "file_name": file,
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system"},
            "tags": tags(),
        }),
    }
}

fn tags() -> Value {
    json!({"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"})
}

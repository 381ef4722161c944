//! A configuration for mlx-lm, and a script for the adapter that it trains.

use super::{LEARNING_RATE, Recipe};

/// Its file name.
pub(super) const FILE: &str = "mlx.yaml";

/// The script that turns the adapter into PEFT's form.
pub(super) const SCRIPT: &str = "to_peft.py";

/// `mlx.yaml` and `to_peft.py`.
pub(super) fn files(recipe: &Recipe<'_>) -> Vec<(String, String)> {
    let rows = recipe.train().map_or(1, |split| split.rows);
    let batch = recipe.batch();
    let validation = recipe
        .evaluation()
        .map_or(1, |split| split.rows.clamp(1, batch));
    let text = format!(
        "# A LoRA run with mlx-lm on the rows beside this file. Run it in this folder:\n\
         #   mlx_lm.lora --config {FILE}\n\
         # Set the model that the chains were written by, or the one that you want to train.\n\
         model: HuggingFaceTB/SmolLM2-135M-Instruct\ntrain: true\ndata: .\nadapter_path: ../mlx-adapter\n\n\
         fine_tune_type: lora\nmask_prompt: true\nmax_seq_length: 1024\n\
         # No file may have fewer rows than a batch.\n\
         batch_size: {}\niters: {}\nlearning_rate: {LEARNING_RATE}\nsteps_per_report: 1\nsteps_per_eval: 50\n\
         val_batches: -1\nseed: 0\n\
         # Layers from the last one on; -1 takes all.\n\
         num_layers: -1\n\
         lora_parameters:\n  rank: 8\n  scale: 2.0\n  dropout: 0.0\n",
        batch.min(validation),
        rows.div_ceil(batch.min(validation)),
    );
    vec![
        (FILE.to_owned(), text),
        (
            SCRIPT.to_owned(),
            include_str!("files/to_peft.py").to_owned(),
        ),
    ]
}

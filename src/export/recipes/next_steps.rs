//! What to do with a dataset: from the folder to `amend run --lora`.

use std::fmt::Write as _;

use super::Recipe;
use crate::export::format::Format;
use crate::export::table::Kind;

/// Its file name.
pub(super) const FILE: &str = "NEXT_STEPS.md";

/// The text.
pub(super) fn text(recipe: &Recipe<'_>) -> String {
    let mut out = String::from(
        "# Next steps\n\nRun these in this folder. BASE is the transformers model to train: a folder, or a name on the \
         Hub such as `HuggingFaceTB/SmolLM2-135M-Instruct`; MODEL.gguf is the same model for llama.cpp. They must be \
         one model, or the adapter does not fit.\n\n## Check the data\n\n```console\n\
         amend verify . -m MODEL.gguf --max-length 1024\n```\n\nRows over the limit are cut by the trainer without a \
         word; raise its limit, or leave such rows out.\n\n## Train\n\n",
    );
    let trained = match recipe.format {
        _ if recipe.kind == Kind::Csv && !has_script(recipe.format) => {
            out.push_str(
                "Lists are JSON texts in CSV files, and this trainer reads them from JSONL or Parquet alone. Export \
                 once more with `--as jsonl` for a ready configuration.\n",
            );
            Trained::Nothing
        }
        Format::TrlPrompts => {
            out.push_str(
                "Prompts alone are for trainers that write answers and score them, such as TRL's GRPOTrainer. What \
                 scores them is yours to choose, so no configuration is given.\n",
            );
            Trained::Nothing
        }
        Format::OpenaiSft | Format::OpenaiDpo => {
            out.push_str(
                "Upload the files and begin a fine-tuning job, in the way that the service documents. Its models do \
                 not leave it, so there is no adapter.\n",
            );
            Trained::Nothing
        }
        Format::AxolotlSft | Format::AxolotlDpo | Format::AxolotlKto => {
            out.push_str("Set `base_model` in `axolotl.yaml` to BASE.\n\n```console\npip install axolotl\naxolotl train axolotl.yaml\n```\n");
            Trained::Adapter("../axolotl-adapter")
        }
        Format::TrlPrm => {
            out.push_str(
                "A process reward model, with axolotl (TRL's PRMTrainer reads the same columns, in the versions that \
                 have it). Set `base_model` in `axolotl.yaml` to BASE.\n\n```console\npip install axolotl\naxolotl \
                 train axolotl.yaml\n```\n\nIt labels steps and writes no text, so there is no adapter for `amend`.\n",
            );
            Trained::Nothing
        }
        Format::LlamafactorySft | Format::LlamafactoryDpo | Format::Alpaca => {
            out.push_str(
                "Set `model_name_or_path` and `template` in `llamafactory.yaml`.\n\n```console\npip install \
                 llamafactory\nllamafactory-cli train llamafactory.yaml\n```\n",
            );
            Trained::Adapter("../llamafactory-adapter")
        }
        Format::Mlx => {
            out.push_str(
                "On a Mac with Apple silicon. Set `model` in `mlx.yaml` to BASE.\n\n```console\npip install mlx-lm\n\
                 mlx_lm.lora --config mlx.yaml\n```\n\n## Turn the adapter into PEFT's form\n\n```console\npip install \
                 torch safetensors\npython to_peft.py ../mlx-adapter --base BASE --out ../adapter\n```\n",
            );
            Trained::Adapter("../adapter")
        }
        _ => {
            out.push_str("```console\npip install trl peft transformers datasets torch");
            out.push_str(" gguf\npython train.py --model BASE --out ../adapter\n```\n\n");
            out.push_str(
                "`--model MODEL.gguf` trains from the GGUF file itself: it is turned into a transformers folder, \
                 `../adapter-base`, which is then BASE. `python train.py --help` lists steps, rates and limits.\n",
            );
            match recipe.format {
                Format::TrlReward => Trained::Nothing,
                _ => Trained::Adapter("../adapter"),
            }
        }
    };
    if recipe.format == Format::TrlReward {
        out.push_str(
            "\nA reward model scores texts and writes none, so there is no adapter for `amend`.\n",
        );
    }
    after(&mut out, trained);
    out
}

/// Whether `train.py` is there, which reads lists out of CSV files.
fn has_script(format: Format) -> bool {
    matches!(
        format,
        Format::TrlSft
            | Format::TrlDpo
            | Format::TrlReward
            | Format::TrlKto
            | Format::HfCai
            | Format::Critic
    )
}

/// What a trainer leaves.
enum Trained {
    /// A PEFT adapter in this folder.
    Adapter(&'static str),
    Nothing,
}

fn after(out: &mut String, trained: Trained) {
    match trained {
        Trained::Nothing => {}
        Trained::Adapter(folder) => {
            let _ = writeln!(
                out,
                "\n## Turn the adapter into GGUF\n\nWith llama.cpp's converter. It needs the configuration of BASE and not \
                 its weights. Where BASE is a name on the Hub and no folder, write `--base-model-id` in place of \
                 `--base`.\n\n```console\ngit clone --depth 1 https://github.com/ggml-org/llama.cpp\n\
                 pip install gguf torch transformers safetensors\npython llama.cpp/convert_lora_to_gguf.py {folder} \
                 --base BASE --outfile ../adapter.gguf\n```\n\n## Use it\n\n```console\namend run prompts.jsonl -m \
                 MODEL.gguf --lora ../adapter.gguf\n```"
            );
        }
    }
}

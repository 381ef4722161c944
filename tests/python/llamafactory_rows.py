"""Reads a folder with LLaMA-Factory's own loader, as `llamafactory-cli train` does, and prints what it learns.

    llamafactory_rows.py FOLDER MODEL
"""

import json
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DISABLE_VERSION_CHECK"] = "1"

import yaml  # noqa: E402
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer  # noqa: E402
from llamafactory.hparams import get_train_args  # noqa: E402
from llamafactory.model import load_tokenizer  # noqa: E402


def main():
    folder, model = pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve())
    os.chdir(folder)
    config = yaml.safe_load(pathlib.Path("llamafactory.yaml").read_text())
    config["model_name_or_path"] = model
    config["use_cpu"] = True
    model_args, data_args, training_args, finetuning_args, _ = get_train_args(config)
    tokenizers = load_tokenizer(model_args)
    tokenizer = tokenizers["tokenizer"]
    vocabulary = len(tokenizer)
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    stage = {"sft": "sft", "dpo": "rm"}[finetuning_args.stage]
    rows = get_dataset(template, model_args, data_args, training_args, stage=stage, **tokenizers)["train_dataset"]
    learned = []
    for row in rows:
        names = ["chosen_labels", "rejected_labels"] if stage == "rm" else ["labels"]
        texts = [tokenizer.decode([token for token in row[name] if token >= 0]) for name in names]
        ids = row["chosen_input_ids"] if stage == "rm" else row["input_ids"]
        learned.append({"text": tokenizer.decode(ids), "learned": texts})
    assert len(tokenizer) == vocabulary, "tokens were added"
    sys.stdout = sys.__stdout__
    print("ROWS " + json.dumps(learned))


if __name__ == "__main__":
    main()

"""Reads a folder with axolotl's own loader, as `axolotl train` does, and prints what it learns.

    axolotl_rows.py FOLDER MODEL
"""

import json
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"

from axolotl.cli.args import TrainerCliArgs  # noqa: E402
from axolotl.cli.config import load_cfg  # noqa: E402
from axolotl.common.datasets import load_datasets, load_preference_datasets  # noqa: E402
from axolotl.loaders import load_tokenizer  # noqa: E402


def main():
    folder, model = pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve())
    os.chdir(folder)
    # bf16 and tf32 are for GPUs.
    cfg = load_cfg("axolotl.yaml", base_model=model, bf16=False, tf32=False, dataset_num_proc=1)
    tokenizer = load_tokenizer(cfg)
    vocabulary = len(tokenizer)
    load = load_preference_datasets if cfg.rl else load_datasets
    rows = load(cfg=cfg, cli_args=TrainerCliArgs()).train_dataset
    learned = []
    for row in rows:
        if cfg.rl:
            names = ["chosen", "rejected"] if "chosen" in row else ["completion"]
            learned.append({"text": row["prompt"], "learned": [row[name] for name in names]})
        else:
            answer = [token for token in row["labels"] if token >= 0]
            learned.append({"text": tokenizer.decode(row["input_ids"]), "learned": [tokenizer.decode(answer)]})
    assert len(tokenizer) == vocabulary, "tokens were added"
    print("ROWS " + json.dumps(learned))


if __name__ == "__main__":
    main()

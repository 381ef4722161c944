"""Reads folders as a person with the `datasets` library would, and prints what it finds as one JSON object.

    read_datasets.py CACHE FOLDER…

Every folder is read as a repository, by its card. JSONL and Parquet files are read once more by themselves,
without the card, and must give the same rows.
"""

import json
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

from datasets import Features, load_dataset  # noqa: E402
from huggingface_hub import DatasetCard  # noqa: E402


def main():
    cache, *folders = sys.argv[1:]
    found = {}
    for folder in folders:
        path = pathlib.Path(folder)
        manifest = json.loads((path / "manifest.json").read_text())
        data = load_dataset(folder, cache_dir=cache, verification_mode="all_checks")
        rows = {name: split.to_list() for name, split in data.items()}
        card = DatasetCard.load(path / "README.md").data
        declared = Features._from_yaml_list(card["dataset_info"]["features"])
        for name, split in data.items():
            assert split.features == declared, f"{folder} {name}: {split.features} and not {declared}"
        if manifest["as"] in ("jsonl", "parquet"):
            kind = {"jsonl": "json", "parquet": "parquet"}[manifest["as"]]
            files = {split["name"]: [str(path / file) for file in split["files"]] for split in manifest["splits"]}
            plain = load_dataset(kind, data_files=files, cache_dir=cache)
            alone = {name: split.to_list() for name, split in plain.items()}
            assert alone == rows, f"{folder}: by its files {alone} and by its card {rows}"
        found[folder] = {
            "rows": rows,
            "license": card.license,
            "tags": card.tags,
            "size": card.size_categories,
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Turns a LoRA adapter of mlx-lm into one of PEFT, which llama.cpp's converter reads.

    python to_peft.py ../mlx-adapter --base BASE --out ../adapter

The folder holds `adapter_config.json` and `adapters.safetensors`, as `mlx_lm.lora` writes them. Both forms add the
product of two thin matrices to the weights of a linear layer. mlx-lm keeps the matrices transposed, and scales the
product by a number of its own; PEFT scales it by alpha over the rank.
"""

import argparse
import json
import pathlib
import sys

from safetensors.torch import load_file, save_file

SIDES = {"lora_a": "lora_A", "lora_b": "lora_B"}


def convert(folder, base):
    """The configuration and the tensors of the adapter in PEFT's form."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    kind = config.get("fine_tune_type", "lora")
    if kind != "lora":
        sys.exit(f"{folder}: was trained with `fine_tune_type: {kind}`, and only `lora` can be converted")
    tensors, layers = {}, set()
    for name, tensor in load_file(folder / "adapters.safetensors").items():
        layer, _, side = name.rpartition(".")
        if side not in SIDES or tensor.dim() != 2:
            sys.exit(f"{folder}: `{name}` is no matrix of a linear layer; fuse this adapter with mlx_lm.fuse instead")
        tensors[f"base_model.model.{layer}.{SIDES[side]}.weight"] = tensor.T.contiguous()
        layers.add(layer.rpartition(".")[2])
    parameters = config["lora_parameters"]
    rank = parameters["rank"]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": parameters["scale"] * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(layers),
    }, tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="the folder that mlx_lm.lora wrote")
    parser.add_argument("--base", required=True, help="the model that was trained: a folder, or a name on the Hub")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="where PEFT's form goes")
    given = parser.parse_args()
    config, tensors = convert(given.folder, given.base)
    given.out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, given.out / "adapter_model.safetensors", metadata={"format": "pt"})
    (given.out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    print(f"{len(tensors)} tensors: {given.out}")


if __name__ == "__main__":
    main()

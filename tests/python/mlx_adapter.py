"""Writes a PEFT adapter in mlx-lm's form, turns it back with the script of an export, and compares.

    scripts/python-env trainers tests/python/mlx_adapter.py ADAPTER to_peft.py WORK

mlx-lm computes `y + scale * (x @ lora_a) @ lora_b` (mlx_lm/tuner/lora.py), PEFT `y + alpha / r * B(A(x))`.
"""

import json
import pathlib
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file

adapter, script, work = map(pathlib.Path, sys.argv[1:])
config = json.loads((adapter / "adapter_config.json").read_text())
tensors = load_file(adapter / "adapter_model.safetensors")

mlx = work / "mlx"
mlx.mkdir(parents=True, exist_ok=True)
names = {"lora_A": "lora_a", "lora_B": "lora_b"}


def in_mlx(name):
    layer, side, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
    return f"{layer}.{names[side]}"


save_file({in_mlx(name): tensor.T.contiguous() for name, tensor in tensors.items()}, mlx / "adapters.safetensors")
scale = config["lora_alpha"] / config["r"]
parameters = {"rank": config["r"], "scale": scale, "dropout": 0.0}
(mlx / "adapter_config.json").write_text(json.dumps({"fine_tune_type": "lora", "lora_parameters": parameters}))

back = work / "back"
subprocess.run([sys.executable, script, mlx, "--base", "BASE", "--out", back], check=True)
again = load_file(back / "adapter_model.safetensors")
assert again.keys() == tensors.keys(), sorted(again.keys() ^ tensors.keys())[:5]
assert all(torch.equal(again[name], tensors[name]) for name in tensors)
told = json.loads((back / "adapter_config.json").read_text())
assert (told["r"], told["lora_alpha"]) == (config["r"], config["lora_alpha"]), told
assert set(told["target_modules"]) == {name.split(".")[-3] for name in tensors}, told

# One layer as both compute it.
name = next(name for name in sorted(tensors) if "lora_A" in name)
a, b = again[name], again[name.replace("lora_A", "lora_B")]
x = torch.randn(3, a.shape[1], generator=torch.manual_seed(0))
theirs = load_file(mlx / "adapters.safetensors")
product = scale * (x @ theirs[in_mlx(name)]) @ theirs[in_mlx(name.replace("lora_A", "lora_B"))]
assert torch.allclose(told["lora_alpha"] / told["r"] * (x @ a.T) @ b.T, product, atol=1e-6)
print(f"{len(tensors)} tensors there and back")

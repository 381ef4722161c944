#!/usr/bin/env python3
"""Writes a LoRA adapter of PEFT as a GGUF adapter of llama.cpp.

    scripts/python-env trainers scripts/lora-to-gguf.py FOLDER --base MODEL.gguf --out ADAPTER.gguf

FOLDER holds `adapter_config.json` and `adapter_model.safetensors`, as PEFT and TRL write them. MODEL.gguf is the model
that the adapter was trained on, in whatever quantisation: its architecture and its heads are read, and every tensor
of the adapter is held against its own. Models of the `llama` architecture (Llama, Mistral, SmolLM and others) are
understood; for others use llama.cpp's `convert_lora_to_gguf.py`.

llama.cpp turns pairs of neighbouring rows of the query and key projections, transformers turns rows that lie half a
head apart. So the rows of these projections stand in another order in GGUF files, and the B matrix of an adapter,
which has a row for each of them, is put into the same order here.
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

PLACES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(.+)\.lora_([AB])\.weight")
ARCHITECTURE = "llama"


class Refused(Exception):
    """The adapter or the model is not what can be converted."""


class Base:
    """What the adapter needs to know of the model: its heads, and the shape of every tensor."""

    def __init__(self, path: Path):
        try:
            reader = gguf.GGUFReader(path)
        except (OSError, ValueError) as error:
            raise Refused(f"{path}: cannot be read as a GGUF file: {error}") from error
        self.path = path
        architecture = self.value(reader, "general.architecture")
        if architecture != ARCHITECTURE:
            raise Refused(
                f"{path}: its architecture is `{architecture}` and only `{ARCHITECTURE}` is understood; "
                "use convert_lora_to_gguf.py of llama.cpp"
            )
        self.heads = int(self.value(reader, f"{ARCHITECTURE}.attention.head_count"))
        key_heads = reader.get_field(f"{ARCHITECTURE}.attention.head_count_kv")
        self.key_heads = int(key_heads.contents()) if key_heads else self.heads
        # GGUF names dimensions from the one that changes fastest; as a matrix that is (rows, columns) reversed.
        self.shapes = {tensor.name: tuple(int(n) for n in reversed(tensor.shape)) for tensor in reader.tensors}

    def value(self, reader: gguf.GGUFReader, key: str):
        field = reader.get_field(key)
        if field is None:
            raise Refused(f"{self.path}: the file does not tell `{key}`; is it a model?")
        return field.contents()


def read_config(folder: Path) -> dict:
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror}); name the folder that PEFT wrote") from error
    except ValueError as error:
        raise Refused(f"{path}: is no JSON: {error}") from error
    if config.get("peft_type") != "LORA":
        raise Refused(f"{path}: peft_type is {config.get('peft_type')!r}; only LORA can be converted")
    for key in ("use_dora", "modules_to_save", "trainable_token_indices", "lora_bias", "layer_replication"):
        if config.get(key):
            raise Refused(f"{path}: `{key}` is set, which a GGUF adapter cannot hold; train without it")
    if config.get("bias", "none") != "none":
        raise Refused(f"{path}: bias is {config['bias']!r}, which a GGUF adapter cannot hold; train with bias none")
    return config


def pattern_value(patterns: dict, module: str, default: float) -> float:
    """The value of a module: PEFT's patterns name the end of a module, or are regular expressions for it."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def scaling(config: dict, module: str, rank: int) -> float:
    """What PEFT multiplies B · A with."""
    alpha = pattern_value(config.get("alpha_pattern"), module, config["lora_alpha"])
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def reorder(rows: np.ndarray, heads: int) -> np.ndarray:
    """Puts rows into the order in which llama.cpp turns them: pairs side by side."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def tensors(folder: Path, config: dict, base: Base) -> dict[str, np.ndarray]:
    """The tensors of the GGUF adapter by name, as float32."""
    path = folder / "adapter_model.safetensors"
    try:
        found = load_file(path)
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error}); save the adapter with safe_serialization") from error
    pairs: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for key, tensor in found.items():
        match = KEY.fullmatch(key)
        if not match or match[2] not in PLACES:
            raise Refused(f"{path}: no place in a {ARCHITECTURE} model is known for `{key}`")
        name = f"blk.{match[1]}.{PLACES[match[2]]}.weight"
        module = f"model.layers.{match[1]}.{match[2]}"
        pairs.setdefault((name, module), {})[match[3]] = tensor.astype(np.float32)
    if not pairs:
        raise Refused(f"{path}: holds no LoRA matrix")
    result = {}
    for (name, module), pair in sorted(pairs.items()):
        result.update(one_pair(name, module, pair, config, base, path))
    return result


def one_pair(name: str, module: str, pair: dict, config: dict, base: Base, path: Path) -> dict[str, np.ndarray]:
    if set(pair) != {"A", "B"}:
        raise Refused(f"{path}: `{module}` has only one of its two matrices")
    a, b = pair["A"], pair["B"]
    shape = base.shapes.get(name)
    if shape != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1]:
        raise Refused(
            f"{path}: `{module}` is for a matrix of {b.shape[0]} × {a.shape[1]} and {base.path} has "
            f"{' × '.join(map(str, shape)) if shape else 'none'}; name the model that it was trained on"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise Refused(f"{path}: `{module}` holds numbers that are not finite; the training has diverged")
    rank = a.shape[0]
    # llama.cpp multiplies with alpha / rank, one alpha for all; what a module has beyond that goes into its B.
    b = b * np.float32(scaling(config, module, rank) / (config["lora_alpha"] / rank))
    if name.endswith("attn_q.weight"):
        b = reorder(b, base.heads)
    elif name.endswith("attn_k.weight"):
        b = reorder(b, base.key_heads)
    return {f"{name}.lora_a": np.ascontiguousarray(a), f"{name}.lora_b": np.ascontiguousarray(b)}


def write(path: Path, config: dict, found: dict[str, np.ndarray]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    writer = gguf.GGUFWriter(temporary, ARCHITECTURE)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(config["lora_alpha"]))
    for name, tensor in found.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write a PEFT LoRA adapter as a GGUF adapter.")
    parser.add_argument("folder", type=Path, help="the folder that PEFT wrote")
    parser.add_argument("--base", type=Path, required=True, help="the GGUF file of the model that it was trained on")
    parser.add_argument("--out", type=Path, required=True, help="the GGUF file to write")
    args = parser.parse_args()
    try:
        config = read_config(args.folder)
        base = Base(args.base)
        found = tensors(args.folder, config, base)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write(args.out, config, found)
    except Refused as error:
        print(f"lora-to-gguf: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"lora-to-gguf: {args.out}: cannot be written: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(found)} tensors, {args.out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

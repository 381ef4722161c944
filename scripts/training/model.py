"""The same model in the two forms that training needs: a folder for transformers, and a GGUF file in float32."""

import shutil
from pathlib import Path

import gguf
import numpy as np


def to_transformers(source: Path, folder: Path) -> Path:
    """Writes the model, dequantised to float32, with tokenizer and chat template, as transformers reads it."""
    if (folder / "config.json").is_file():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    # The weights are plain numbers now; a trainer refuses a model that says it is quantised.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.save_pretrained(temporary)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(temporary)
    temporary.rename(folder)
    return folder


def to_float32(source: Path, out: Path) -> Path:
    """Writes the GGUF file again with every tensor as float32."""
    if out.is_file():
        return out
    reader = gguf.GGUFReader(source)
    architecture = reader.get_field("general.architecture").contents()
    temporary = out.with_name(out.name + ".part")
    writer = gguf.GGUFWriter(temporary, architecture)
    skipped = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")
    for field in reader.fields.values():
        if field.name.startswith(skipped):
            continue
        kind, inner = field.types[0], field.types[-1]
        inner = inner if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.rename(out)
    return out

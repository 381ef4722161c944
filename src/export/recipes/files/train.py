#!/usr/bin/env python3
"""Trains a LoRA adapter on the dataset in this folder with TRL. Works on a CPU, where it is slow.

    python train.py --model BASE --out ../adapter
    python train.py --model model.gguf --steps 20 --lr 1e-3 --out ../adapter

BASE is a folder or a Hub name of a transformers model, or a GGUF file, which is first turned into such a
folder (float32, beside the adapter). No embedding is trained and no token is added, so that the adapter
converts to GGUF.
"""

import argparse
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
KIND = "@KIND@"  # sft, dpo, kto or reward
SPLITS = @SPLITS@  # the split that is trained on, and the one that is evaluated on where there is one
LISTS = @LISTS@  # columns that hold JSON text, in CSV files


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder, a name on the Hub, or a GGUF file")
    parser.add_argument("--out", default=str(HERE) + "-adapter", help="where the adapter goes (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=-1, help="optimiser steps (default: one epoch)")
    parser.add_argument("--lr", type=float, default=@LR@, help="learning rate (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=@BATCH@, help="rows of a step (default: %(default)s)")
    parser.add_argument("--accumulate", type=int, default=1, help="batches of a step (default: %(default)s)")
    parser.add_argument("--rank", type=int, default=8, help="rank of the adapter (default: %(default)s)")
    parser.add_argument("--alpha", type=int, default=None, help="its scale (default: twice the rank)")
    parser.add_argument("--beta", type=float, default=0.1, help="strength of the reference, for dpo and kto")
    parser.add_argument("--max-length", type=int, default=1024, help="tokens after which a row is cut")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def base_folder(model, out):
    """A folder or name that trainers accept; a GGUF file becomes one."""
    path = pathlib.Path(model)
    if path.suffix != ".gguf":
        return str(path.resolve()) if path.exists() else model
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = out.parent / (out.name + "-base")
    if not (folder / "config.json").exists():
        print(f"turning {path.name} into {folder}")
        where = {"gguf_file": path.name}
        loaded = AutoModelForCausalLM.from_pretrained(str(path.parent), dtype=torch.float32, **where)
        # What is loaded is no longer quantised, and neither saving nor training takes a model that says it is.
        loaded.hf_quantizer, loaded.is_quantized = None, False
        if hasattr(loaded.config, "quantization_config"):
            del loaded.config.quantization_config
        loaded.save_pretrained(folder)
        AutoTokenizer.from_pretrained(str(path.parent), **where).save_pretrained(folder)
    return str(folder)


def rows():
    from datasets import load_dataset

    data = load_dataset(str(HERE))
    if LISTS:
        data = data.map(lambda row: {name: json.loads(row[name]) for name in LISTS})
    if KIND == "sft":
        # The answer apart from what it answers, so that only the answer is learned.
        def apart(row):
            return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}

        data = data.map(apart, remove_columns=data[SPLITS[0]].column_names)
    keep = {"dpo": ["prompt", "chosen", "rejected"], "reward": ["chosen", "rejected"]}.get(KIND)
    if keep:
        data = data.select_columns(keep)
    return data


def main():
    args = arguments()
    out = pathlib.Path(args.out).resolve()
    base = base_folder(args.model, out)

    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, set_seed
    import trl

    set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    if tokenizer.pad_token is None:
        # One that is there already: a new token would need a new embedding.
        tokenizer.pad_token = tokenizer.eos_token
    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu and torch.cuda.is_bf16_supported() else torch.float32
    if KIND == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=dtype)
        model.config.pad_token_id = tokenizer.pad_token_id
    else:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    adapter = LoraConfig(
        r=args.rank,
        lora_alpha=args.alpha or 2 * args.rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="SEQ_CLS" if KIND == "reward" else "CAUSAL_LM",
    )
    trainers = {
        "sft": ("SFTTrainer", "SFTConfig", {}),
        "dpo": ("DPOTrainer", "DPOConfig", {"beta": args.beta}),
        "kto": ("KTOTrainer", "KTOConfig", {"beta": args.beta}),
        "reward": ("RewardTrainer", "RewardConfig", {}),
    }
    trainer_name, config_name, own = trainers[KIND]
    config = getattr(trl, config_name)(
        output_dir=str(out),
        max_steps=args.steps,
        num_train_epochs=1,
        learning_rate=args.lr,
        per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=args.accumulate,
        max_length=args.max_length,
        logging_steps=1,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        seed=args.seed,
        use_cpu=not gpu,
        bf16=dtype == torch.bfloat16,
        gradient_checkpointing=gpu,
        **own,
    )
    data = rows()
    trainer = getattr(trl, trainer_name)(
        model=model,
        args=config,
        train_dataset=data[SPLITS[0]],
        eval_dataset=data[SPLITS[1]] if len(SPLITS) > 1 else None,
        processing_class=tokenizer,
        peft_config=adapter,
    )
    vocabulary = len(tokenizer)
    result = trainer.train()
    if len(SPLITS) > 1:
        print(json.dumps(trainer.evaluate()))
    # Embeddings are not trained, so none are saved.
    trainer.model.save_pretrained(out, save_embedding_layers=False)
    tokenizer.save_pretrained(out)
    assert len(tokenizer) == vocabulary, "the trainer added tokens; the adapter would not convert"
    print(json.dumps({"steps": result.global_step, "loss": result.training_loss, "base": base, "adapter": str(out)}))


if __name__ == "__main__":
    main()

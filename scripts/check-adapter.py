#!/usr/bin/env python3
"""Holds `amend` with a converted adapter against PEFT with the adapter itself: the same logits for the same tokens.

    scripts/python-env trainers scripts/check-adapter.py [--amend target/release/amend] [--work FOLDER]

The adapter is drawn at random, on every linear layer, with a rank and an alpha of its own for some of them. Both
programs get the weights in float32, so that what is left between them is rounding. Exit code 4 where a logit
differs by 0.01 or more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from training.model import to_float32, to_transformers  # noqa: E402
from training.stages import default_model  # noqa: E402

TOLERANCE = 1e-2
ROOT = Path(__file__).resolve().parent.parent


def random_adapter(model_folder: Path, folder: Path, rslora: bool) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    config = LoraConfig(
        r=8,
        lora_alpha=16,
        target_modules="all-linear",
        use_rslora=rslora,
        rank_pattern={"k_proj": 4},
        alpha_pattern={"down_proj": 24},
        task_type="CAUSAL_LM",
    )
    peft = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    peft.save_pretrained(folder)


def amend_logits(program: Path, model: Path, adapter: Path | None) -> list[dict]:
    command = [
        program, "score", ROOT / "datasets/general.jsonl", "--limit", "3", "--json", "--top", "50", "-m", model,
        "--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off",
    ]
    command += ["--lora", adapter] if adapter else []
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def peft_logits(model_folder: Path, adapter: Path | None, texts: list[dict]) -> list:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    with torch.no_grad():
        return [model(torch.tensor([text["tokens"]])).logits[0] for text in texts]


def largest_difference(texts: list[dict], logits: list) -> tuple[float, int]:
    """Over the listed tokens of every scored place."""
    worst, count = 0.0, 0
    for text, rows in zip(texts, logits):
        for offset, place in enumerate(text["scores"]):
            row = rows[text["first"] + offset - 1]
            for token, logit in place["top"]:
                worst = max(worst, abs(row[token].item() - logit))
                count += 1
    return worst, count


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare logits of amend and PEFT under the same adapter.")
    parser.add_argument("--amend", type=Path, default=ROOT / "target/release/amend")
    parser.add_argument("--work", type=Path, help="where to keep the model's other forms; else a folder that is removed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        return check(args.amend, work)


def check(program: Path, work: Path) -> int:
    model = default_model()
    folder = to_transformers(model, work / "transformers")
    exact = to_float32(model, work / "float32.gguf")
    base = amend_logits(program, exact, None)
    passed = report("no adapter", *largest_difference(base, peft_logits(folder, None, base)))
    for rslora in (False, True):
        name = "rslora" if rslora else "lora"
        adapter, converted = work / f"random-{name}", work / f"random-{name}.gguf"
        random_adapter(folder, adapter, rslora)
        convert = [sys.executable, ROOT / "scripts/lora-to-gguf.py", adapter, "--base", model, "--out", converted]
        subprocess.run([str(part) for part in convert], check=True)
        ours = amend_logits(program, exact, converted)
        theirs = peft_logits(folder, adapter, ours)
        passed &= report(name, *largest_difference(ours, theirs))
        # An adapter that is not applied, or that changes nothing, would agree as well.
        moved, _ = largest_difference(base, theirs)
        if moved < 100 * TOLERANCE:
            print(f"{name}: the adapter moves logits by {moved:.4f} only, so that agreeing says nothing")
            passed = False
    return 0 if passed else 4


def report(name: str, worst: float, count: int) -> bool:
    good = count > 0 and worst < TOLERANCE
    print(f"{name}: {count} logits, largest difference {worst:.2e} ({'within' if good else 'NOT within'} {TOLERANCE})")
    return good


if __name__ == "__main__":
    sys.exit(main())

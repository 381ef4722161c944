"""The stages of the loop in their order, each a function of what the earlier ones left in the folder."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .loop import Loop


class Failed(Exception):
    """A stage could not be done."""


@dataclass(frozen=True)
class Stage:
    """A part of the loop that is done as a whole or not at all."""

    name: str
    about: str
    work: Callable[["Loop"], None]


# Chains whose final text obeys: a whole round found nothing, or what was mended was looked at again.
KEPT = "stop:clean or (revised:true not regressed:true)"

# Wording that every answer shares is what is taught here, and short answers are wanted: two gates stay open. What
# they would have said is kept beside (`gates/`).
GATES = [
    "--gate", "flags=empty,critique-repeated,no-revision,think-unclosed,truncated,repetition,preamble,roles-swapped",
    "--gate", "collapse=off", "--gate", "length-ratio=off",
]


def default_model() -> Path:
    """The GGUF file of Amend's default model, in the user's cache."""
    cache = os.environ.get("AMEND_CACHE")
    if not cache:
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        cache = Path(xdg if xdg.startswith("/") else Path.home() / ".cache") / "amend"
    path = Path(cache) / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.is_file():
        raise Failed(f"{path} is missing; run `make model`")
    return path


def prepare(loop: "Loop") -> None:
    """Python packages, and the model as transformers reads it."""
    loop.call([*loop.python, "-c", "import torch, trl, peft, gguf"])
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'scripts');"
        "from training.model import to_transformers; to_transformers(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    loop.call([*loop.python, "-c", code, default_model(), loop.model])


def answering(constitution: str) -> Callable[["Loop"], None]:
    def work(loop: "Loop") -> None:
        loop.chains(constitution, constitution)

    return work


def replay(loop: "Loop") -> None:
    """The base model's own answers to other prompts: what it should not forget."""
    loop.amend(
        "run", "datasets/borderline.jsonl", "--rounds", "0", "--db", loop.db("replay"), "--limit", loop.settings.prompts,
        "--max-tokens", loop.settings.replay_tokens, "--seed", loop.settings.seed, allowed=(0, 3),
        stdout=subprocess.DEVNULL,
    )
    # Most answers are cut. The trainer cuts them again, at a length where none of them ends, so none learns to end there.
    loop.export("replay", "trl-sft", "replay", where="", gates=[])


def export(loop: "Loop") -> None:
    loop.gates("asking")
    loop.export("asking", "trl-sft", "sft")
    loop.export("asking", "trl-dpo", "dpo")
    mixed = ["--replay", loop.out / "data/replay/train.jsonl", "--replay-ratio", loop.settings.replay]
    loop.export("asking", "trl-sft", "sft-replay", mixed)
    loop.export("summing", "trl-sft", "summing")


def measure_swap(loop: "Loop") -> None:
    """Both adapters in one process, under the principles of both constitutions."""
    both = loop.out / "both.yaml"
    files = [str(loop.constitution(name)) for name in ("asking", "summing")]
    lines = ["schema: 1", "name: both", "version: 1.0.0", f"extends: {json.dumps(files)}"]
    both.write_text("\n".join(lines) + "\n")
    loop.evaluate("swap", both, "--lora", loop.adapter("summing"), "--against", loop.adapter("sft"))


def second_turn(loop: "Loop") -> None:
    """The adapter answers other prompts, and what it writes is trained on again."""
    loop.chains("second", "asking", "--lora", loop.adapter("sft"))
    loop.gates("second")
    loop.export("second", "trl-sft", "second")
    loop.train("second", "second", loop.settings.sft_steps, loop.settings.sft_rate)
    loop.evaluate("second", loop.constitution("asking"), "--lora", loop.adapter("second"))


def document(loop: "Loop") -> None:
    from .report import write

    write(loop)


def training(data: str, kind: str) -> Callable[["Loop"], None]:
    def work(loop: "Loop") -> None:
        s = loop.settings
        steps, rate = (s.dpo_steps, s.dpo_rate) if kind == "dpo" else (s.sft_steps, s.sft_rate)
        loop.train(data, data, steps, rate)

    return work


def measuring(name: str, constitution: str) -> Callable[["Loop"], None]:
    def work(loop: "Loop") -> None:
        loop.evaluate(name, loop.constitution(constitution), "--lora", loop.adapter(name))

    return work


STAGES = [
    Stage("prepare", "Python packages, and the model as transformers reads it", prepare),
    Stage("chains-asking", "answers, mended where they break a principle", answering("asking")),
    Stage("chains-summing", "the same under another constitution", answering("summing")),
    Stage("replay", "the base model's own answers to other prompts", replay),
    Stage("export", "gates, and datasets for SFT and DPO, with and without replay", export),
    Stage("train-sft", "LoRA by supervised fine-tuning", training("sft", "sft")),
    Stage("eval-sft", "base against it, on prompts that no chain answered", measuring("sft", "asking")),
    Stage("train-dpo", "LoRA by direct preference optimisation", training("dpo", "dpo")),
    Stage("eval-dpo", "base against it", measuring("dpo", "asking")),
    Stage("train-replay", "SFT with replay", training("sft-replay", "sft")),
    Stage("eval-replay", "base against it", measuring("sft-replay", "asking")),
    Stage("train-summing", "SFT under the other constitution", training("summing", "sft")),
    Stage("eval-summing", "base against it", measuring("summing", "summing")),
    Stage("eval-swap", "both adapters in one process, under both constitutions", measure_swap),
    Stage("second-turn", "the adapter writes the next dataset", second_turn),
    Stage("document", "docs/loop.md from what the stages left behind", document),
]

"""What the loop is run with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes, so that all of it fits into forty minutes on two cores."""

    prompts: int  # of datasets/bench.jsonl, which the chains answer
    samples: int  # chains per prompt
    held_out: int  # prompts of datasets/benign.jsonl, which are measured on
    texts: int  # of datasets/general.jsonl, for drift
    max_tokens: int
    sft_steps: int
    dpo_steps: int
    batch: int
    sft_rate: float
    dpo_rate: float
    replay: float  # rows of general text for each row of the chains
    replay_tokens: int  # of an answer for replay: with its prompt more than `max_length`, so that no end is learned
    temperature: float = 0.7
    max_length: int = 256
    threads: int | None = None  # of amend; all cores where nothing else runs
    seed: int = 1


FULL = Settings(
    prompts=64,
    samples=2,
    held_out=60,
    texts=65,
    max_tokens=96,
    sft_steps=60,
    dpo_steps=40,
    batch=4,
    sft_rate=1e-3,
    dpo_rate=5e-4,
    replay=0.5,
    replay_tokens=240,
)

SMALL = Settings(
    prompts=8,
    samples=2,
    held_out=4,
    texts=4,
    max_tokens=60,
    sft_steps=2,
    dpo_steps=2,
    batch=2,
    sft_rate=1e-3,
    dpo_rate=5e-4,
    replay=0.5,
    replay_tokens=240,
)

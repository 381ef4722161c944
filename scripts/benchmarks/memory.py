"""Memory: a long prompt file takes no more than a short one."""

from __future__ import annotations

from .frame import Bench, Measure, Outcome, Target, workload
from .inputs import prompt_file

MIB = 2**20
RUN = ["-c", "hhh", "--rounds", 0, "--backend", "scripted", "--parallel", 64]


@workload("memory", "1,000,000 prompts against 10,000, drafts on the scripted backend")
def memory(bench: Bench) -> Outcome:
    short, long = bench.size(10_000, 500), bench.size(1_000_000, 5_000)
    small = [peak(bench, short) for _ in range(bench.pairs)]
    # One long run: it takes minutes, and peaks differ by less than a megabyte from run to run.
    large = [peak(bench, long)]
    growth = [value - sorted(small)[len(small) // 2] for value in large]
    return Outcome(
        measures=[
            Measure("growth of the peak", "MiB", growth, Target("<=", 50)),
            Measure(f"peak at {short:,} prompts", "MiB", small),
            Measure(f"peak at {long:,} prompts", "MiB", large),
        ],
        settings={"run": "amend run prompts.jsonl " + " ".join(map(str, RUN))},
        notes=["Peaks are of resident memory, SQLite's cache included."],
    )


def peak(bench: Bench, prompts: int) -> float:
    """Peak resident memory of a run, in MiB."""
    prompt_file(bench.folder / "prompts.jsonl", prompts)
    finished = bench.run("run", "prompts.jsonl", *RUN, "--db", "memory.db")
    for file in bench.folder.glob("memory.db*"):
        file.unlink()
    return finished.peak_rss / MIB

"""The store: how fast it is written, searched, taken up again and exported."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from .frame import Bench, BenchError, Measure, Outcome, Target, workload
from .inputs import prompt_file

RUN = ["-c", "hhh", "--backend", "scripted", "--parallel", 64]
# Found in one prompt of all, and in about one of 1,728.
RARE = 'text:"question {number}"'
PHRASE = 'text:"a glacier freeze in silence"'


@workload("store", "100,000 chains on the scripted backend: draft, two rounds of critique and revision")
def store(bench: Bench) -> Outcome:
    chains = bench.size(100_000, 2_000)
    prompt_file(bench.folder / "prompts.jsonl", chains)
    prompt_file(bench.folder / "more.jsonl", chains + max(chains // 20, 2_000))

    written = [write(bench, f"{run}.db") for run in range(bench.pairs)]
    for run in range(bench.pairs - 1):
        remove(bench.folder / f"{run}.db")
    db = f"{bench.pairs - 1}.db"
    rare = RARE.format(number=chains * 3 // 4)
    # Searches are short, so they are measured more often.
    searched = [seconds_of_search(bench, db, rare) for _ in range(5 * bench.pairs)]
    phrase = [seconds_of_search(bench, db, PHRASE) for _ in range(5 * bench.pairs)]
    gated = [bench.run("gate", "--db", db, "--json").seconds for _ in range(bench.pairs)]
    exports = [
        Measure(name, "rows/s", [export(bench, db, form, options) for _ in range(bench.pairs)], target)
        for form in ("trl-sft", "trl-dpo")
        for name, options, target in (
            (f"export, {form}", ["--no-gates"], Target(">=", 20_000)),
            (f"gates and export, {form}", [], None),
        )
    ]
    resumed = resume(bench, chains)
    size = (bench.folder / db).stat().st_size
    return Outcome(
        measures=[
            Measure("written", "steps/s", written, Target(">=", 5_000)),
            Measure("search that finds one chain", "ms", milliseconds(searched), Target("<=", 100)),
            Measure("search that finds some 60", "ms", milliseconds(phrase), Target("<=", 100)),
            Measure("resume to the first new step", "s", resumed, Target("<=", 2)),
            Measure("gate, all chains", "s", gated, Target("<=", 10)),
            *exports,
        ],
        settings={
            "run": "amend run prompts.jsonl " + " ".join(map(str, RUN)),
            "search": [f"amend ls --where '{rare}'", f"amend ls --where '{PHRASE}'"],
            "chains": chains,
            "size of the store": f"{size / 2**20:,.0f} MiB",
        },
        notes=[
            "Times are those of whole commands, start of the program included. Every finished step is "
            "committed before the chain's next step is asked for."
        ],
    )


def write(bench: Bench, db: str) -> float:
    """Steps per second of a whole run."""
    finished = bench.run("run", "prompts.jsonl", *RUN, "--db", db)
    return steps(bench.folder / db) / finished.seconds


def steps(db: Path) -> int:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute("SELECT sum(steps) FROM v_chains").fetchone()[0]


def ended(db: Path) -> int:
    """Chains that have ended in a store that another process may be making."""
    if not db.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT count(*) FROM chains WHERE status = 'done'").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def seconds_of_search(bench: Bench, db: str, expression: str) -> float:
    finished = bench.run("ls", "--db", db, "--where", expression, "--json")
    if not finished.stdout:
        raise BenchError(f"{expression} finds nothing")
    return finished.seconds


def milliseconds(seconds: list[float]) -> list[float]:
    return [1000 * value for value in seconds]


def export(bench: Bench, db: str, form: str, options: list[str]) -> float:
    """Rows per second of an export."""
    out = f"{form}{''.join(options)}"
    finished = bench.run("export", "--db", db, "--format", form, *options, "--out", out, "--force", "--json")
    manifest = json.loads(finished.stdout)["manifest"]
    return manifest["rows"] / finished.seconds


def resume(bench: Bench, chains: int) -> list[float]:
    """Seconds from the start of `amend resume` to its first new step, after `chains` chains."""
    db = bench.folder / "interrupted.db"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = bench.start("run", "more.jsonl", *RUN, "--db", db.name, **quiet)
    while ended(db) < chains:
        if child.poll() is not None:
            raise BenchError("the run ended before it was interrupted")
        time.sleep(0.05)
    interrupt(child)
    return [first_step(bench, db.name) for _ in range(bench.pairs)]


def first_step(bench: Bench, db: str) -> float:
    begun = time.perf_counter()
    child = bench.start(
        "resume", "--db", db, "--json", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in child.stdout:
        if json.loads(line)["event"] == "step":
            seconds = time.perf_counter() - begun
            interrupt(child)
            return seconds
    raise BenchError("a resumed run made no step")


def interrupt(child: subprocess.Popen) -> None:
    child.send_signal(signal.SIGINT)
    child.communicate()
    if child.returncode not in (0, 130):
        raise BenchError(f"an interrupted run ended with {child.returncode}")


def remove(db: Path) -> None:
    for file in db.parent.glob(db.name + "*"):
        file.unlink()

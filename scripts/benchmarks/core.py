"""The inference core by itself: tokens guessed from repeated text, memory with a model, sampling."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from .frame import ROOT, Bench, BenchError, Measure, Outcome, Target, alternate, environment, ratios, workload
from .server import PACKS, PROMPTS, THREADS, Run, model, works

MIB = 2**20
# One principle that nothing keeps, so that every draft is revised without a model call for its verdict.
ALWAYS = """schema: 1
name: copy
version: 1.0.0
principles:
  - id: copy
    title: Copy
    critique: The text is to be copied.
    revision: Copy the text.
    check: {contains: ["\\u2603"]}
"""


# The least share of the words of a response that a revision keeps which copies it.
COPIES = 0.7


def copying(bench: Bench, parallel: int) -> tuple[list[Measure], list[str]]:
    """The speed of revisions that copy what they revise, with and without guesses."""
    (bench.folder / "copy.yaml").write_text(ALWAYS)
    kept: list[float] = []
    revisions = 0

    def speed(lookup: str) -> float:
        """Tokens that revisions have per second of their own time, reading the request included."""
        nonlocal revisions
        db = bench.folder / "copy.db"
        sizes = ["--limit", bench.size(16, 4), "--rounds", 1, "--max-tokens", 128, "--ctx-size", 1024]
        common = ["-c", bench.folder / "copy.yaml", "--pack", PACKS / "copy", "--temp", 0, "--threads", THREADS]
        bench.run("run", PROMPTS, *common, *sizes, "--parallel", parallel, "--lookup", lookup, "--db", db, "--json")
        chains = bench.run("ls", "--json", "--db", db)
        rows = [json.loads(line) for line in chains.stdout.splitlines()]
        shares = {row["chain_id"]: 1 - (row.get("changed") or 0) for row in rows}
        # What does not copy says nothing about copies.
        copies = {chain: share for chain, share in shares.items() if share >= COPIES}
        if not copies:
            raise BenchError("copy: no revision copied what it revised")
        kept.extend(copies.values())
        revisions += len(shares)
        with contextlib.closing(sqlite3.connect(db)) as store:
            query = "SELECT chain_id, completion_tokens, duration_ms FROM v_steps WHERE kind = 'revision'"
            steps = [step for step in store.execute(query) if step[0] in copies]
        for file in bench.folder.glob("copy.db*"):
            file.unlink()
        return parallel * 1000 * sum(step[1] for step in steps) / sum(step[2] for step in steps)

    pairs = alternate(bench.pairs, lambda: speed("auto"), lambda: speed("off"))
    share = 100 * sum(kept) / len(kept)
    return (
        [
            Measure(
                f"with guesses over without, {parallel} in flight", "×", ratios(pairs), Target(">=", 1.3)
            ),
            Measure(f"with, {parallel} in flight", "tok/s", [a for a, _ in pairs]),
            Measure(f"without, {parallel} in flight", "tok/s", [b for _, b in pairs]),
        ],
        [
            f"{parallel} in flight: {len(kept)} of {revisions} revisions, all pairs together, keep at least "
            f"{100 * COPIES:.0f} % of the words of what they revise, and are measured. They keep {share:.0f} %."
        ],
    )


@workload("copy", "revisions that copy what they revise, 16 prompts, 1 and 2 in flight")
def copy(bench: Bench) -> Outcome:
    measures, notes = [], []
    for parallel in (1, 2):
        found, said = copying(bench, parallel)
        measures += found
        notes += said
    return Outcome(measures, {"pack": "scripts/benchmarks/packs/copy", "lookup": "auto against off"}, notes)


@workload("guessing", "what guesses cost where little repeats: the workloads at 16 in flight, --lookup auto against off")
def guessing(bench: Bench) -> Outcome:
    measures = []
    for name, work in works(bench).items():

        guessed: list[float] = []

        def speed(lookup: str) -> float:
            """Tokens per second, those written and those of prompts that were read anew."""
            run = Run(bench, replace(work, options=(*work.options, "--lookup", lookup)), 16, None)
            if lookup == "auto":
                guessed.append(100 * run.guessed / max(1, run.written))
            return (run.written + run.read - run.cached) / run.seconds

        pairs = alternate(bench.pairs, lambda: speed("auto"), lambda: speed("off"))
        measures += [
            Measure(f"{name}, with guesses over without", "×", ratios(pairs), Target(">=", 0.97)),
            Measure(f"{name}, with", "tok/s", [a for a, _ in pairs]),
            Measure(f"{name}, without", "tok/s", [b for _, b in pairs]),
            Measure(f"{name}, guesses for 100 tokens written", "", guessed),
        ]
    return Outcome(measures, {"parallel": 16})


@workload("busy", "the demo's chains beside as many busy programs as there are cores, and alone")
def busy(bench: Bench) -> Outcome:
    def seconds(*options: object) -> float:
        db = bench.folder / "busy.db"
        common = ["-c", "hhh", "--temp", 0, "--max-tokens", 48, "--limit", bench.size(8, 4), "--parallel", 8]
        done = bench.run("run", ROOT / "datasets" / "demo.jsonl", *common, *options, "--db", db, "--json")
        db.unlink()
        return json.loads(done.stdout.splitlines()[-1])["seconds"]

    alone = alternate(bench.pairs, seconds, lambda: seconds("--threads", THREADS))
    with contextlib.ExitStack() as others:
        for _ in range(THREADS):
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            others.callback(other.wait)
            others.callback(other.kill)
        beside = alternate(bench.pairs, seconds, lambda: seconds("--threads", THREADS))
    measures = []
    for place, pairs in (("alone", alone), ("beside others", beside)):
        measures += [
            Measure(f"{place}, threads as they are free over all of them", "×", ratios([(b, a) for a, b in pairs])),
            Measure(f"{place}, as they are free", "s", [a for a, _ in pairs]),
            Measure(f"{place}, all", "s", [b for _, b in pairs]),
        ]
    return Outcome(measures, {"run": "amend run datasets/demo.jsonl -c hhh --max-tokens 48 --parallel 8"})


@workload("products", "drafts with this program's products and attention against llama.cpp's, 1 and 16 in flight")
def products(bench: Bench) -> Outcome:
    def run(whose: str, parallel: int) -> float:
        db = bench.folder / "products.db"
        options = ["--rounds", 0, "--max-tokens", bench.size(96, 16), "--parallel", parallel, "--ctx-size", 512]
        done = bench.run(
            *("run", PROMPTS, "-c", "hhh", "--temp", 0, "--limit", max(4, parallel), "--threads", THREADS),
            *(*options, "--matmul", whose, "--db", db, "--json"),
        )
        db.unlink()
        summary = json.loads(done.stdout.splitlines()[-1])
        return summary["completion_tokens"] / summary["seconds"]

    measures = []
    for parallel in (1, 16):
        pairs = alternate(bench.pairs, lambda: run("auto", parallel), lambda: run("ggml", parallel))
        measures += [
            Measure(f"own over llama.cpp's, {parallel} in flight", "×", ratios(pairs)),
            Measure(f"own, {parallel} in flight", "tok/s", [a for a, _ in pairs]),
            Measure(f"llama.cpp's, {parallel} in flight", "tok/s", [b for _, b in pairs]),
        ]
    return Outcome(measures, {"run": "amend run datasets/bench.jsonl -c hhh --rounds 0 --max-tokens 96"})


@workload("memory-model", "peak memory of a run with the default model, over model file and KV cache")
def memory_model(bench: Bench) -> Outcome:
    beyond, peaks = [], []
    for _ in range(bench.pairs):
        db = bench.folder / "memory.db"
        finished = bench.run(
            *("run", PROMPTS, "-c", "hhh", "--limit", bench.size(16, 4), "--max-tokens", 48, "--parallel", 8),
            *("--ctx-size", 2048, "--db", db),
        )
        db.unlink()
        line = next((line for line in finished.stderr.splitlines() if "KV cache" in line), "")
        cache = [word for word in line.replace(",", "").split() if word.isdigit()]
        if not cache:
            raise BenchError(f"the run did not say how large its cache is: {finished.stderr[-300:]}")
        mib = float(line.split(" MiB")[0].split()[-1])
        peaks.append(finished.peak_rss / MIB)
        beyond.append(finished.peak_rss / MIB - mib - model().stat().st_size / MIB)
    return Outcome(
        [Measure("beyond model file and cache", "MiB", beyond, Target("<=", 150)), Measure("peak", "MiB", peaks)],
        {"run": "amend run datasets/bench.jsonl -c hhh --max-tokens 48 --parallel 8 --ctx-size 2048"},
    )


@workload("sampling", "64 rows of 49,152 logits, top-k 40, top-p 0.95, temperature 0.7")
def sampling(bench: Bench) -> Outcome:
    """Reads what the micro-benchmark of the same name measures; cargo builds it where it is not built."""

    def run(threads: int) -> float:
        subprocess.run(
            ["cargo", "bench", "--locked", "--bench", "core", "--", "sampling/64 rows", "--noplot"],
            cwd=ROOT,
            env=environment() | {"RAYON_NUM_THREADS": str(threads)},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        folder = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "criterion"
        found = next(folder.glob("sampling_64 rows/new/estimates.json"))
        return json.loads(found.read_text())["median"]["point_estimate"] / 1e6

    pairs = alternate(bench.pairs, lambda: run(1), lambda: run(THREADS))
    return Outcome(
        [
            Measure(f"one thread over {THREADS}", "×", ratios(pairs), Target(">=", 1.7)),
            Measure("one thread", "ms", [a for a, _ in pairs]),
            Measure(f"{THREADS} threads", "ms", [b for _, b in pairs]),
        ],
        {"run": "cargo bench --bench core -- sampling"},
    )

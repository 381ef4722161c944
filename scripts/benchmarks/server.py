"""The same work in this process and over a llama-server, in turn."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from .frame import ROOT, Bench, BenchError, Measure, Outcome, Target, Unavailable, alternate, environment, finish
from .frame import ratios, workload

PROMPTS = ROOT / "datasets" / "bench.jsonl"
PACKS = ROOT / "scripts" / "benchmarks" / "packs"
THREADS = len(os.sched_getaffinity(0))
# Eight principles of the constitution `hhh` that a model decides.
EIGHT = (
    "answer-the-question,plain-words,keep-people-safe,lawful-and-fair-means,equal-respect,"
    "protect-privacy,kind-tone,say-what-is-true"
)
# So small a model gives most violations about even odds. Above this threshold its verdicts are clean, so that
# what is measured is verdicts, and the same ones on both sides.
CLEAN = 0.9
# Greedy replies change with the batch they are in, so that as many steps may write more or fewer tokens. A run here
# may not write fewer by more than this: it would have less to do. Where it writes more, its ratio is the lower for it.
FEWER_TOKENS = 0.05


@dataclass(frozen=True)
class Work:
    """What is run."""

    prompts: int
    context: int
    options: tuple[object, ...]
    # Options of a run before it, whose drafts the measured run finds in the store.
    before: tuple[object, ...] = ()

    def command(self, parallel: int, options: tuple[object, ...]) -> list[object]:
        common = ["-c", "hhh", "--limit", self.prompts, "--temp", 0, "--seed", 1, "--parallel", parallel]
        return ["run", PROMPTS, *common, *options, "--json"]


@dataclass(frozen=True)
class Setting:
    """How a llama-server is started: slots, and one KV cache for all of them or one for each."""

    slots: int
    unified: bool

    def __str__(self) -> str:
        return f"-np {self.slots} {'-kvu' if self.unified else '-no-kvu'}"


SETTINGS = [Setting(slots, unified) for slots in (8, 16, 32) for unified in (False, True)]
# Taken where the workload `settings-…` has not been measured.
USUAL = Setting(16, False)


def best(name: str) -> Setting:
    """The setting that was best when the workload's settings were measured."""
    results = ROOT / "docs" / "benchmarks.json"
    if not results.exists():
        return USUAL
    found = json.loads(results.read_text())["workloads"].get(f"settings-{name}", {"measures": []})
    speeds = {measure["name"]: measure["median"] for measure in found["measures"]}
    return max(SETTINGS, key=lambda setting: speeds.get(str(setting), 1.0 if setting == USUAL else 0.0))


def works(bench: Bench, part: int = 1) -> dict[str, Work]:
    """The workloads, smaller ones with --quick; or one part in so many of each."""

    def size(whole: int, quick: int) -> int:
        return max(1, bench.size(whole, quick) // part)

    def tokens(whole: int, quick: int) -> int:
        return bench.size(whole, quick)

    return {
        "paper": Work(
            size(32, 4), 3072, ("--pack", PACKS / "paper-2k", "--rounds", 1, "--max-tokens", tokens(64, 16))
        ),
        "verdict": Work(
            size(32, 4),
            1024,
            ("--rounds", 1, "--select", EIGHT, "--max-tokens", 96, "--threshold", CLEAN),
            before=("--rounds", 0, "--max-tokens", 96),
        ),
        "plain": Work(
            size(48, 8), 1024, ("--pack", PACKS / "plain", "--rounds", 1, "--max-tokens", tokens(64, 16))
        ),
        "samples": Work(
            size(8, 2), 1024, ("--rounds", 0, "--samples", tokens(8, 4), "--max-tokens", tokens(96, 16))
        ),
    }


def settings(name: str) -> None:
    """Makes the workload that finds the best setting of a llama-server for another one."""

    @workload(f"settings-{name}", f"half of `{name}` over a llama-server under six settings")
    def measure(bench: Bench) -> Outcome:
        work, measures = works(bench, 2)[name], []
        for setting in SETTINGS:
            with server(bench, work, setting) as url:
                speed = Run(bench, work, setting.slots, url).speed
            measures.append(Measure(str(setting), "chains/min", [speed]))
        return Outcome(measures, {"server": command(bench, work, USUAL, 8080)})


for _name in ("paper", "verdict", "plain", "samples"):
    settings(_name)


@workload("paper", "draft, critique and revision behind about 2,000 tokens of worked examples, 32 prompts")
def paper(bench: Bench) -> Outcome:
    return compare(bench, "paper", Target(">=", 3.0))


@workload("verdict", "32 responses under 8 principles each, verdicts only")
def verdict(bench: Bench) -> Outcome:
    return compare(bench, "verdict", Target(">=", 3.0))


@workload("plain", "draft, critique and revision without anything shared, 48 prompts")
def plain(bench: Bench) -> Outcome:
    return compare(bench, "plain", Target(">=", 1.1))


@workload("samples", "8 drafts of each of 8 prompts")
def samples(bench: Bench) -> Outcome:
    return compare(bench, "samples", Target(">=", 1.2))


class Run:
    """One run of amend: its speed and what it did."""

    def __init__(self, bench: Bench, work: Work, parallel: int, url: str | None, api: str = "auto"):
        db = bench.folder / f"{time.monotonic_ns()}.db"
        # A model in this process is told what the server was told when it was started.
        place = ["--ctx-size", work.context, "--threads", THREADS]
        if url:
            place = ["--endpoint", url, "--endpoint-api", api]
        if work.before:
            bench.run(*work.command(parallel, work.before), *place, "--db", db)
        # Chains that fail for one reason fail for it on both sides, and are counted.
        done = bench.run(*work.command(parallel, work.options), *place, "--db", db, codes=(0, 3))
        summary = json.loads(done.stdout.splitlines()[-1])
        stats = bench.run("stats", "--db", db, "--json").stdout.splitlines()
        # Tokens that were guessed, right or not.
        self.guessed = sum(json.loads(line).get("proposed_tokens", 0) for line in stats)
        for file in bench.folder.glob(db.name + "*"):
            file.unlink()
        self.seconds = summary["seconds"]
        self.speed = 60 * summary["chains"] / self.seconds
        self.chains = summary["chains"]
        self.failed = summary["failed"]
        self.steps = summary["steps"]
        self.written = summary["completion_tokens"]
        self.read = summary["prompt_tokens"]
        self.cached = summary["cached_tokens"]
        self.decode = summary.get("decode_seconds")

    def __str__(self) -> str:
        return f"{self.steps} steps, {self.read} tokens read ({self.cached} cached), {self.written} written"


def compare(bench: Bench, name: str, target: Target) -> Outcome:
    """Chains per minute in this process over those of a llama-server, pair by pair. The server is started
    afresh for every run, as the program is, so that neither begins with what the last run left behind."""
    work, setting = works(bench)[name], best(name)

    def here() -> Run:
        return Run(bench, work, setting.slots, None)

    def there() -> Run:
        with server(bench, work, setting) as url:
            return Run(bench, work, setting.slots, url)

    pairs = alternate(bench.pairs, here, there)
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    same_work(name, ours, theirs)
    measures = [
        Measure("amend over llama-server", "×", ratios([(a.speed, b.speed) for a, b in pairs]), target),
        Measure("amend", "chains/min", [run.speed for run in ours]),
        Measure("llama-server", "chains/min", [run.speed for run in theirs]),
        Measure("in decode", "%", [100 * (run.decode or 0) / run.seconds for run in ours]),
    ]
    notes = [f"amend: {run}" for run in ours] + [f"llama-server: {run}" for run in theirs]
    if name == "plain":
        measures.insert(1, ceiling(bench, work, setting.slots, ours))
    if name == "verdict":
        with server(bench, work, setting) as url:
            chat = Run(bench, work, setting.slots, url, "openai")
        values = [run.speed / chat.speed for run in ours]
        measures.insert(1, Measure("amend over the same server by chat completions", "×", values))
        notes += [
            f"by chat completions: {chat}",
            "A slot of the server keeps what it read last, and a chain's verdicts follow each other in one slot: the "
            "server shares prefixes almost as well. What is gained is gained on the tokens that nothing shares.",
            "The server's own protocol reads a verdict from one token. By chat completions, with a JSON schema and "
            "logprobs, it writes the object up to the boolean.",
        ]
    return Outcome(
        measures,
        {
            "run": " ".join(map(str, shown(work.command(setting.slots, work.options)))),
            "in this process": f"--ctx-size {work.context} --threads {THREADS}",
            "server": command(bench, work, setting, 8080),
        },
        notes,
    )


def same_work(name: str, ours: list[Run], theirs: list[Run]) -> None:
    """Refuses a comparison in which less was done here."""
    for mine, other in zip(ours, theirs):
        if mine.failed or other.failed:
            raise BenchError(f"{name}: chains failed ({mine.failed} here, {other.failed} over the server)")
        if mine.steps != other.steps:
            raise BenchError(f"{name}: {mine.steps} steps here, {other.steps} over the server")
        if mine.written < (1 - FEWER_TOKENS) * other.written:
            raise BenchError(f"{name}: {mine.written} tokens written here, {other.written} over the server")


def ceiling(bench: Bench, work: Work, parallel: int, runs: list[Run]) -> Measure:
    """The time that llama-batched-bench takes for as many tokens, over the time that the runs took. It is more than 100 %
    where this program's products of weights are used."""
    values = []
    for run in runs:
        prompt = max(1, round(run.read / run.steps))
        reply = max(1, round(run.written / run.steps))
        reading, writing = batched(bench, prompt, reply, parallel)
        values.append(100 * ((run.read - run.cached) / reading + run.written / writing) / run.seconds)
    return Measure("of what llama-batched-bench takes", "%", values, Target(">=", 90))


def batched(bench: Bench, prompt: int, reply: int, parallel: int) -> tuple[float, float]:
    """Tokens per second of llama-batched-bench, read and written, for requests of this size."""
    program = Path(os.environ.get("LLAMA_BATCHED_BENCH") or bench.server.with_name("llama-batched-bench"))
    if not os.access(program, os.X_OK):
        raise Unavailable("there is no llama-batched-bench beside the server; LLAMA_BATCHED_BENCH may name one")
    sizes = ["-npp", prompt, "-ntg", reply, "-npl", parallel, "-c", parallel * (prompt + reply + 8)]
    rest = ["-b", 512, "-ub", 512, "-t", THREADS, "-tb", THREADS, "--output-format", "jsonl"]
    done = finish([str(program), "-m", str(model()), *map(str, sizes), *map(str, rest)], bench.folder)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise BenchError("llama-batched-bench printed no result")
    found = json.loads(lines[-1])
    return found["speed_pp"], found["speed_tg"]


def model() -> Path:
    """The default model's file."""
    cache = os.environ.get("AMEND_CACHE")
    folder = Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "amend"
    path = folder / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        raise Unavailable("the default model is not there; run `make model`")
    return path


def command(bench: Bench, work: Work, setting: Setting, port: int) -> str:
    """How the server is started, as a person would type it."""
    return " ".join(shown([bench.server.name, *arguments(work, setting, port)]))


def arguments(work: Work, setting: Setting, port: int) -> list[object]:
    return [
        *("-m", model(), "-c", work.context * setting.slots, *str(setting).split()),
        *("-t", THREADS, "-tb", THREADS, "--host", "127.0.0.1", "--port", port),
    ]


def shown(parts: list[object]) -> list[str]:
    """A command line without the places of this machine's files."""
    texts = [str(part) for part in parts]
    return [re.sub(r"^/.*/", "", text) if text.endswith(".gguf") else text.replace(f"{ROOT}/", "") for text in texts]


@contextmanager
def server(bench: Bench, work: Work, setting: Setting) -> Iterator[str]:
    """A llama-server with the default model, ready to answer; ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (bench.folder / "server.log").open("w")
    parts = [bench.server, *arguments(work, setting, port)]
    child = subprocess.Popen(
        [str(part) for part in parts], env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        wait(child, port, Path(log.name))
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        log.close()


def wait(child: subprocess.Popen, port: int, log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if child.poll() is not None:
            raise BenchError(f"llama-server ended with {child.returncode}: {log.read_text()[-500:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    raise BenchError("llama-server is not ready after two minutes")

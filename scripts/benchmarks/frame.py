"""What a workload is, what it gives back, and how programs are run and timed."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Sequence, TypeVar

ROOT = Path(__file__).resolve().parents[2]
AMEND = ROOT / "target" / "release" / "amend"


T = TypeVar("T")


class Unavailable(Exception):
    """A workload cannot be run here; says what it lacks and how to get it."""


class BenchError(Exception):
    """A program did not do what the workload needs."""


@dataclass(frozen=True)
class Target:
    """What the median of a measure should reach: `>=` or `<=`, and a number in the measure's unit."""

    op: str
    value: float

    def met(self, median: float) -> bool:
        return median >= self.value if self.op == ">=" else median <= self.value


@dataclass
class Measure:
    """One figure: a value for each run. Without a target it is there for context."""

    name: str
    unit: str
    values: list[float]
    target: Target | None = None

    def to_json(self) -> dict:
        return {
            "name": self.name,
            "unit": self.unit,
            "values": [round(value, 6) for value in self.values],
            "target": self.target and {"op": self.target.op, "value": self.target.value},
            "median": round(statistics.median(self.values), 6),
            "minimum": round(min(self.values), 6),
            "maximum": round(max(self.values), 6),
            "met": self.target and self.target.met(statistics.median(self.values)),
        }


@dataclass
class Outcome:
    """What a workload gives back. `settings` are what a reader needs to do the same."""

    measures: list[Measure]
    settings: dict[str, object]
    notes: list[str] = field(default_factory=list)


@dataclass
class Finished:
    """A program that has ended: its output, wall time, and peak resident memory in bytes."""

    stdout: str
    stderr: str
    code: int
    seconds: float
    peak_rss: int


@dataclass
class Bench:
    """What a workload is given."""

    pairs: int
    quick: bool
    folder: Path
    amend: Path = AMEND

    def size(self, whole: int, quick: int) -> int:
        """The size of a workload, and its size with --quick."""
        return quick if self.quick else whole

    @property
    def server(self) -> Path:
        """The llama-server to compare with."""
        path = os.environ.get("LLAMA_SERVER", "")
        if not path:
            raise Unavailable("LLAMA_SERVER names no llama-server; set it to the path of one")
        if not os.access(path, os.X_OK):
            raise Unavailable("LLAMA_SERVER names no program; set it to the path of a llama-server")
        return Path(path)

    def run(self, *args: object, codes: Sequence[int] = (0,)) -> Finished:
        """Runs amend in the workload's folder to its end."""
        return finish([str(self.amend), *map(str, args)], self.folder, codes)

    def start(self, *args: object, **options) -> subprocess.Popen:
        """Starts amend in the workload's folder and leaves it running."""
        command = [str(self.amend), *map(str, args)]
        return subprocess.Popen(command, cwd=self.folder, env=environment(), **options)


def environment() -> dict[str, str]:
    """The caller's environment, without settings that would change what is measured."""
    hidden = {"AMEND_MODEL", "AMEND_LOG"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def finish(command: list[str], folder: Path, codes: Sequence[int] = (0,)) -> Finished:
    """Runs a program to its end, with its output in files so that reading it takes no time from it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        peak, usage, status = 0, None, 0
        while usage is None:
            peak = max(peak, high_water(child.pid))
            ended, status, found = os.wait4(child.pid, os.WNOHANG)
            if ended:
                usage = found
            else:
                # Short at first, so that short programs are timed closely.
                time.sleep(min(0.02, max(0.0005, (time.perf_counter() - begun) / 50)))
        seconds = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        # The system counts what this process held when it started the program as the program's own.
        whole = usage.ru_maxrss * 1024
        peak = max(peak, whole if whole > high_water(os.getpid()) else 0)
        out.seek(0), err.seek(0)
        finished = Finished(
            out.read().decode(), err.read().decode(), child.returncode, seconds, peak
        )
    if finished.code not in codes:
        raise BenchError(f"{' '.join(command[:2])} ended with {finished.code}: {finished.stderr.strip()}")
    return finished


def high_water(pid: int) -> int:
    """The most resident memory that a running process has had, in bytes; 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


# Of a virtual machine's time, what its host gives to others meanwhile. Where more is taken, a run says more about
# the host than about the program.
STOLEN = 0.02


def processor_time() -> tuple[int, int]:
    """Ticks of all processors so far, and those that the host has taken; zeros where Linux does not tell."""
    try:
        ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    return sum(ticks), ticks[7]


def alternate(pairs: int, first: Callable[[], T], second: Callable[[], T]) -> list[tuple[T, T]]:
    """Runs two things in turn, `pairs` times each, changing which goes first, so that a machine that
    warms up or slows down favours neither. A pair during which the host took more than its share of the time is
    run again, as often as there are pairs in all."""
    found: list[tuple[T, T]] = []
    disturbed: list[tuple[T, T]] = []
    while len(found) < pairs:
        before = processor_time()
        if (len(found) + len(disturbed)) % 2:
            b, a = second(), first()
        else:
            a, b = first(), second()
        after = processor_time()
        stolen = (after[1] - before[1]) / max(1, after[0] - before[0])
        if stolen > STOLEN and len(disturbed) < pairs:
            disturbed.append((a, b))
        else:
            found.append((a, b))
    return found


def ratios(pairs: list[tuple[float, float]]) -> list[float]:
    """First over second, pair by pair."""
    return [a / b for a, b in pairs]


@dataclass(frozen=True)
class Workload:
    """A named workload and the function that runs it."""

    name: str
    shape: str
    function: Callable[[Bench], Outcome]

    def run(self, pairs: int, quick: bool) -> Outcome:
        folder = Path(tempfile.mkdtemp(prefix="amend-bench-"))
        try:
            return self.function(Bench(pairs=pairs, quick=quick, folder=folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


WORKLOADS: dict[str, Workload] = {}


def workload(name: str, shape: str) -> Callable:
    """Makes a function a workload. `shape` says in a phrase what is run."""

    def register(function: Callable[[Bench], Outcome]) -> Callable[[Bench], Outcome]:
        if name in WORKLOADS:
            raise ValueError(f"two workloads are called {name}")
        WORKLOADS[name] = Workload(name, shape, function)
        return function

    return register

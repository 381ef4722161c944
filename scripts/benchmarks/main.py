"""The command line of scripts/bench."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import sys
from pathlib import Path

from . import machine, report
from .frame import AMEND, ROOT, WORKLOADS, BenchError, Outcome, Unavailable, Workload

# The modules that hold workloads, in the order of the table.
FAMILIES = ["server", "core", "store", "view", "memory"]

DOCS = ROOT / "docs"
RESULTS = "benchmarks.json"
PAGE = "benchmarks.md"


def main() -> int:
    for family in FAMILIES:
        importlib.import_module(f"{__package__}.{family}")
    args = arguments()
    if args.list:
        for workload in WORKLOADS.values():
            print(f"{workload.name:10} {workload.shape}")
        return 0
    if args.report:
        write_page(load())
        return 0
    if not os.access(AMEND, os.X_OK):
        print(f"error: {AMEND.relative_to(ROOT)} is not there; run `make build`", file=sys.stderr)
        return 2
    failed = [workload.name for workload in chosen(args.only) if not measure(workload, args)]
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", metavar="WORKLOAD", choices=list(WORKLOADS), help="only these")
    add("--pairs", type=positive, default=3, metavar="N", help="how often each thing is measured [3]")
    add("--quick", action="store_true", help="small sizes; prints, and keeps nothing")
    add("--list", action="store_true", help="list the workloads")
    add("--report", action="store_true", help="write the page from the results that are there")
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def chosen(names: list[str] | None) -> list[Workload]:
    return [workload for name, workload in WORKLOADS.items() if not names or name in names]


def measure(workload: Workload, args: argparse.Namespace) -> bool:
    """Runs a workload and keeps what it found. A workload that lacks something is passed over, unless it
    was asked for by name."""
    print(f"{workload.name}: {workload.shape}", flush=True)
    try:
        outcome = workload.run(args.pairs, args.quick)
    except Unavailable as error:
        print(f"  not run: {error}", flush=True)
        return not args.only
    except BenchError as error:
        print(f"  failed: {error}", flush=True)
        return False
    for found in outcome.measures:
        data = found.to_json()
        values = [report.amount(data[key], found.unit) for key in ("median", "minimum", "maximum")]
        verdict = {True: "met", False: "not met", None: ""}[data["met"]]
        print(f"  {found.name}: {values[0]} ({values[1]} to {values[2]})  {verdict}", flush=True)
    if not args.quick:
        keep(workload, outcome)
    return True


def keep(workload: Workload, outcome: Outcome) -> None:
    results = load()
    found = results["workloads"] | {
        workload.name: {
            "shape": workload.shape,
            "date": datetime.date.today().isoformat(),
            "machine": machine.machine(),
            "versions": machine.versions(),
            "settings": outcome.settings,
            "measures": [measure.to_json() for measure in outcome.measures],
            "notes": outcome.notes,
        }
    }
    # In the order of the families, whatever was measured last.
    order = [name for name in WORKLOADS if name in found]
    order += [name for name in found if name not in order]
    results["workloads"] = {name: found[name] for name in order}
    write(DOCS / RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_page(results)


def load() -> dict:
    """The results that are there, or none."""
    path = DOCS / RESULTS
    if not path.exists():
        return {"schema": 1, "workloads": {}}
    return json.loads(path.read_text())


def write_page(results: dict) -> None:
    write(DOCS / PAGE, report.render(results))


def write(path: Path, text: str) -> None:
    """Writes beside the file and renames, so that an interruption leaves the old one."""
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    beside.replace(path)

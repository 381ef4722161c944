"""docs/benchmarks.md from docs/benchmarks.json."""

from __future__ import annotations

import json

HEAD = """# Benchmarks

Written by `scripts/bench` from [benchmarks.json](benchmarks.json), which holds every single run. Do not edit.

```console
scripts/bench                     # every workload that can run here
scripts/bench --only store memory # these; the rows of the others stay
scripts/bench --list              # what there is
scripts/bench --quick             # small sizes, to see that it works; prints and keeps nothing
```

It measures `target/release/amend`, which `make build` makes, and needs python3. Workloads that compare with
llama-server take its path from `LLAMA_SERVER`. Numbers from a machine that does other work meanwhile mean little.

Verdicts are those of the median.
"""


def render(results: dict) -> str:
    """The page."""
    parts = [HEAD]
    for key, names in groups(results["workloads"]).items():
        machine, versions = json.loads(key)
        parts.append(place(machine, versions))
        workloads = {name: results["workloads"][name] for name in names}
        parts.append(table(workloads))
        parts.extend(details(name, found) for name, found in workloads.items())
    return "\n".join(parts)


def groups(workloads: dict) -> dict[str, list[str]]:
    """Workloads by what they were measured on and with; rows of different machines are never in one
    table."""
    found: dict[str, list[str]] = {}
    for name, result in workloads.items():
        versions = {k: v for k, v in result["versions"].items() if k != "llama-server"}
        key = json.dumps([result["machine"], versions])
        found.setdefault(key, []).append(name)
    return found


def place(machine: dict, versions: dict) -> str:
    memory = machine.get("memory_gib")
    what = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"## {machine['processor']}, {machine['cores']} cores, {memory} GiB, {machine['system']}\n\n"
        f"With {what}.\n"
    )


def table(workloads: dict) -> str:
    lines = [
        "| workload | measure | target | median | minimum | maximum | runs | verdict |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, result in workloads.items():
        for measure in result["measures"]:
            unit = measure["unit"]
            cells = [
                name,
                measure["name"],
                goal(measure),
                amount(measure["median"], unit),
                amount(measure["minimum"], unit),
                amount(measure["maximum"], unit),
                str(len(measure["values"])),
                {True: "met", False: "**not met**", None: "–"}[measure["met"]],
            ]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def goal(measure: dict) -> str:
    target = measure["target"]
    if target is None:
        return "–"
    sign = {">=": "≥", "<=": "≤"}[target["op"]]
    return f"{sign} {amount(target['value'], measure['unit'])}"


def amount(value: float, unit: str) -> str:
    """A number with as many digits as it is worth, and its unit."""
    if unit == "×":
        return f"{value:.2f}×"
    size = abs(value)
    text = f"{value:,.0f}" if size >= 100 or value == int(value) else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
    return f"{text} {unit}".strip()


def details(name: str, result: dict) -> str:
    lines = [f"### {name}\n", f"{result['shape']}. Measured {result['date']}.\n"]
    server = result["versions"].get("llama-server")
    settings = dict(result["settings"]) | ({"llama-server": server} if server else {})
    lines += [f"- {key}: {setting(value)}" for key, value in settings.items()]
    if result["notes"]:
        lines += [""] + [f"{note}\n" for note in result["notes"]]
    return "\n".join(lines).rstrip() + "\n"


def setting(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"

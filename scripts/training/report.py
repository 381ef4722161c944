"""docs/loop.md, written from what the stages left behind and from nothing else."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .loop import Loop

WANTED = 3.0
PACKAGES = ("torch", "transformers", "trl", "peft", "gguf")


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def percent(share: dict) -> str:
    low, high = (100 * share["interval"][end] for end in ("low", "high"))
    return f"{100 * share['share']:.1f} % [{low:.1f}, {high:.1f}]"


def obeyed(share: dict) -> dict:
    """The other side of a share of violations."""
    interval = share["interval"]
    return {"share": 1 - share["share"], "interval": {"low": 1 - interval["high"], "high": 1 - interval["low"]}}


def estimate(value: dict | None, digits: int = 3, unit: str = "", factor: float = 1) -> str:
    if value is None:
        return "-"
    text = f"{factor * value['value']:.{digits}f}{unit}"
    if value["interval"]:
        low, high = (factor * value["interval"][end] for end in ("low", "high"))
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return text


def times(before: dict, after: dict) -> tuple[float | None, str]:
    """How many times as often; `None` where it never happened before."""
    if before["share"] == 0:
        # What may still be true: the base's upper end against the adapter's lower one.
        least = after["interval"]["low"] / before["interval"]["high"]
        return None, f"never before; at least {least:.1f}× by the ends of both intervals"
    return after["share"] / before["share"], f"{after['share'] / before['share']:.1f}×"


def principles(report: dict) -> list[dict]:
    """What the answers were held against."""
    return report["effect"]["suites"][0]["principles"]


def drift_of(report: dict) -> dict:
    return report["effect"]["drift"]


def obeying(name: str, report: dict) -> list[str]:
    rows = []
    for principle in principles(report):
        before, after = obeyed(principle["violated"]["before"]), obeyed(principle["violated"]["after"])
        ratio, text = times(before, after)
        # Shares are quotients of counts; three times as many is three times.
        reached = after["share"] > 0 and (ratio is None or ratio >= WANTED - 1e-9)
        rows.append(
            f"| {name} | {principle['id']} | {percent(before)} | {percent(after)} | {text} | "
            f"{'yes' if reached else 'no'} |"
        )
    return rows


def drift_row(name: str, report: dict) -> str:
    drift = drift_of(report)
    words = report["effect"]["suites"][0]["words"]
    return (
        f"| {name} | {estimate(drift['kl'])} | {estimate(drift['kl_top'])} | {estimate(drift['same_top'], 1, ' %', 100)} | "
        f"{estimate(drift['perplexity_before'], 1)} | {estimate(drift['perplexity'], 1)} | {words[0]:.0f} | {words[1]:.0f} |"
    )


def stage_rows(loop: "Loop", names: list[str]) -> list[str]:
    rows, total = [], 0.0
    for name in names:
        done = loop.out / "done" / name
        if done.is_file():
            seconds = read(done)["seconds"]
            total += seconds
            rows.append(f"| {name} | {seconds:.0f} s |")
    return [*rows, f"| all | {total / 60:.1f} min |"]


def data_rows(loop: "Loop") -> list[str]:
    rows = []
    for path in sorted((loop.out / "data").glob("*.json")):
        manifest = read(path)["manifest"]
        dropped = ", ".join(f"{reason} {count}" for reason, count in manifest["dropped"].items()) or "-"
        rows.append(f"| {path.stem} | {manifest['format']} | {manifest['chains']} | {manifest['rows']} | {dropped} |")
    return rows


def versions(loop: "Loop") -> str:
    code = f"import importlib.metadata as m; print(', '.join(f'{{p}} {{m.version(p)}}' for p in {PACKAGES!r}))"
    found = subprocess.run([*loop.python, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    amend = subprocess.run([loop.program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return f"{amend}, {found}"


def commands(loop: "Loop") -> list[str]:
    lines = []
    for line in (loop.out / "commands.jsonl").read_text().splitlines():
        entry = json.loads(line)
        words = [word if word and not set(word) & set(" ;'\"<>()") else repr(word) for word in entry["command"]]
        lines.append(f"{' '.join(words)}   # {entry['seconds']:.0f} s")
    return lines


def replay_sentence(plain: dict, replayed: dict) -> str:
    before, after = (drift_of(report)["kl"]["value"] for report in (plain, replayed))
    verb = "lowered" if after < before else "did not lower"
    return f"Replay {verb} the drift: {before:.3f} nats a token without, {after:.3f} with it."


def swap_rows(report: dict) -> list[str]:
    """Before is the adapter of `asking`, after the one of `summing`."""
    rows = []
    for principle in principles(report):
        violated = principle["violated"]
        first, second = percent(obeyed(violated["before"])), percent(obeyed(violated["after"]))
        rows.append(f"| {principle['id']} | {first} | {second} |")
    return rows


def collapse_lines(loop: "Loop") -> list[str]:
    """What the gates found in the chains of each turn."""
    lines = []
    for name in ("asking", "second"):
        path = loop.out / "gates" / f"{name}.txt"
        if path.is_file():
            lines += [f"`amend gate` on the chains of `{name}`:", "", "```text", path.read_text().strip(), "```", ""]
    return lines


def write(loop: "Loop") -> None:
    from .findings import second_turn, what_did_not_work
    from .stages import STAGES

    evals = {name: read(loop.out / "eval" / name / "eval.json") for name in ("sft", "dpo", "sft-replay", "summing", "swap", "second")}
    s = loop.settings
    first = [name for name in ("sft", "dpo", "sft-replay", "summing")]
    text = [
        "# The loop, closed once",
        "",
        "Written by `scripts/loop` from its own outputs. The default model, 135 million parameters, answers prompts under a",
        "constitution whose principles are decided by programs; what obeys is trained on with LoRA; the adapter is brought back",
        "and measured against the model without it, on prompts that no chain answered. No model judges anything here.",
        "",
        f"{s.prompts} prompts of `datasets/bench.jsonl`, {s.samples} chains each, for training; {s.held_out} prompts of",
        f"`datasets/benign.jsonl` to measure on; {s.texts} texts of `datasets/general.jsonl` for drift. Two cores, no GPU.",
        f"{versions(loop)}. Intervals are 95 %: Wilson's for shares, percentile bootstrap over texts for drift.",
        "",
        "## What is obeyed",
        "",
        f"Wanted: at least {WANTED:.0f} times as often as the base model.",
        "",
        "| adapter | principle | base obeys | adapter obeys | as often | reached |",
        "|---|---|---|---|---|---|",
        *[row for name in first for row in obeying(name, evals[name])],
        "",
        "![rates before and after SFT](loop-sft.svg)",
        "",
        "## Drift",
        "",
        "| adapter | mean KL a token (nats) | over the top logits | same token likeliest | perplexity before | after | words before | after |",
        "|---|---|---|---|---|---|---|---|",
        *[drift_row(name, evals[name]) for name in [*first, "second"]],
        "",
        replay_sentence(evals["sft"], evals["sft-replay"]) + f" The replay is {s.replay} rows of the base model's own answers to",
        "other prompts for each row of the chains.",
        "",
        "## Two adapters, one process",
        "",
        "One `amend eval` with the adapters of both constitutions, held against the principles of both:",
        "",
        "| principle | adapter `sft` (asking) obeys | adapter `summing` obeys |",
        "|---|---|---|",
        *swap_rows(evals["swap"]),
        "",
        "## The second turn",
        "",
        "The adapter `sft` answers the training prompts again, and what obeys is trained on from the base model:",
        "",
        "| adapter | principle | base obeys | adapter obeys | as often | reached |",
        "|---|---|---|---|---|---|",
        *obeying("second", evals["second"]),
        "",
        "Beside the first turn, both on the same held-out prompts:",
        "",
        *second_turn(loop, evals["sft"], evals["second"]),
        *collapse_lines(loop),
        "## What did not work",
        "",
        *what_did_not_work(loop, evals, [*first, "second"]),
        "",
        "## Data",
        "",
        "| export | format | chains | rows | dropped |",
        "|---|---|---|---|---|",
        *data_rows(loop),
        "",
        "## Time",
        "",
        "| stage | time |",
        "|---|---|",
        *stage_rows(loop, [stage.name for stage in STAGES]),
        "",
        "## Commands",
        "",
        "```console",
        *commands(loop),
        "```",
        "",
    ]
    # A rehearsal says nothing that belongs into the documents.
    folder = loop.out if loop.small else loop.root / "docs"
    (folder / "loop.md").write_text("\n".join(text))
    shutil.copyfile(loop.out / "eval/sft/eval.svg", folder / "loop-sft.svg")

"""What the outputs say beyond their tables: what did not work, and what a second turn improves and what collapses."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from .report import WANTED, drift_of, estimate, obeyed, percent, principles, read, times

if TYPE_CHECKING:
    from .loop import Loop

# What an answer begins with, and its last sentence: as many words as tell a mannerism from chance.
WORDS = 3


def what_did_not_work(loop: "Loop", evals: dict[str, dict], trained: list[str]) -> list[str]:
    """One line for each thing."""
    lines = [
        *left_out(loop),
        *not_reached(evals, trained),
        *prices(evals, trained),
        *price_of_replay(evals["sft"], evals["sft-replay"]),
        *failures(loop, evals),
    ]
    return [f"- {line}" for line in lines] or ["Nothing that these outputs show."]


def left_out(loop: "Loop") -> Iterator[str]:
    """Chains that taught nothing."""
    for db, data in (("asking", "sft"), ("summing", "summing"), ("second", "second")):
        with closing(sqlite3.connect(f"file:{loop.db(db)}?mode=ro", uri=True)) as store:
            (chains,) = store.execute("SELECT count(*) FROM v_chains").fetchone()
        kept = read(loop.out / "data" / f"{data}.json")["manifest"]["chains"]
        if kept < chains:
            yield f"{chains - kept} of {chains} chains of `{db}` did not obey in the end and are in no dataset."


def not_reached(evals: dict[str, dict], trained: list[str]) -> Iterator[str]:
    for name in trained:
        for principle in principles(evals[name]):
            before, after = (obeyed(principle["violated"][side]) for side in ("before", "after"))
            ratio, text = times(before, after)
            of = f"`{name}` obeys `{principle['id']}` in {percent(after)} of answers"
            if after["share"] == 0:
                yield f"{of}: never, as before."
            elif ratio is not None and ratio < WANTED - 1e-9:
                yield f"{of}: {text} as often as the base model, and {WANTED:.0f}× was wanted."
            elif after["share"] < 0.5:
                yield f"{of}: what was wanted, and still fewer than half."


def prices(evals: dict[str, dict], trained: list[str]) -> Iterator[str]:
    """Texts that nothing was trained on have become less likely."""
    ratios = {name: drift_of(evals[name])["perplexity_ratio"] for name in trained}
    worse = [
        f"{ratio['value']:.2f} times under `{name}`"
        for name, ratio in ratios.items()
        if ratio["interval"] and ratio["interval"]["low"] > 1
    ]
    if worse:
        yield f"The perplexity of texts that nothing was trained on rose: {', '.join(worse)}."


def price_of_replay(plain: dict, replayed: dict) -> Iterator[str]:
    for one, other in zip(principles(plain), principles(replayed)):
        without, with_it = (obeyed(principle["violated"]["after"]) for principle in (one, other))
        if with_it["interval"]["high"] < without["interval"]["low"]:
            yield f"Replay cost obedience: `{one['id']}` in {percent(with_it)} of answers, {percent(without)} without it."


def failures(loop: "Loop", evals: dict[str, dict]) -> Iterator[str]:
    for name, report in evals.items():
        if report["failed"]:
            yield f"{report['failed']} chains failed when `{name}` was measured, and their answers are left out."
    for line in (loop.out / "commands.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["code"] != 0:
            yield f"`{' '.join(entry['command'][:2])} …` ended with code {entry['code']} after {entry['seconds']:.0f} s."


def second_turn(loop: "Loop", first: dict, second: dict) -> list[str]:
    """The second turn beside the first: a table, and what it comes to."""
    rows, found = [], {"improves": [], "gets worse": []}

    def row(name: str, values: list[dict], shown: list[str], more_is_better: bool) -> None:
        verdict = changed(*(value["interval"] for value in values), more_is_better)
        rows.append(f"| {name} | {shown[0]} | {shown[1]} | {verdict} |")
        if verdict in found:
            found[verdict].append(name)

    for one, other in zip(principles(first), principles(second)):
        shares = [obeyed(principle["violated"]["after"]) for principle in (one, other)]
        row(f"obeys {one['id']}", shares, [percent(share) for share in shares], True)
    for name, key in (("mean KL from the base model", "kl"), ("perplexity", "perplexity")):
        values = [drift_of(report)[key] for report in (first, second)]
        row(name, values, [estimate(value) for value in values], False)
    rows += [f"| {name} | {one} | {other} | - |" for name, one, other in mannerisms(loop, first, second)]
    told = [f"{what.capitalize()}: {', '.join(names) or 'nothing beyond the intervals'}." for what, names in found.items()]
    table = ["| figure | first turn | second turn | |", "|---|---|---|---|", *rows]
    return [*table, "", " ".join([*told, collapse(loop, "second")]), ""]


def changed(first: dict | None, second: dict | None, more_is_better: bool) -> str:
    """What two intervals tell."""
    if not first or not second or (first["low"] <= second["high"] and second["low"] <= first["high"]):
        return "not told apart"
    return "improves" if (second["low"] > first["high"]) == more_is_better else "gets worse"


def mannerisms(loop: "Loop", first: dict, second: dict) -> Iterator[tuple[str, str, str]]:
    """How alike the answers have become, which is what collapse looks like."""
    texts = [answers(loop, report["runs"][0]["after"][0]) for report in (first, second)]
    for name, part in (("answers", beginning), ("last sentences", ending)):
        yield (f"{name} that begin with the same {WORDS} words", *(commonest(map(part, of)) for of in texts))


def answers(loop: "Loop", run: str) -> list[str]:
    with closing(sqlite3.connect(f"file:{loop.db('eval')}?mode=ro", uri=True)) as store:
        rows = store.execute("SELECT draft FROM v_chains WHERE run_id = ? AND draft IS NOT NULL ORDER BY chain_id", [run])
        return [draft for (draft,) in rows]


def beginning(text: str) -> str:
    return " ".join(text.split()[:WORDS])


def ending(text: str) -> str:
    return beginning(re.split(r"(?<=[.!?])\s+", text.strip())[-1])


def commonest(parts: Iterator[str]) -> str:
    """The part that occurs most often, in words of letters alone, since it stands in a table."""
    counts = Counter(parts)
    if not counts:
        return "-"
    text, count = max(counts.items(), key=lambda entry: (entry[1], entry[0]))
    plain = re.sub(r"[^ \w.,:;?!’'-]", "", text)
    return f"{count} of {sum(counts.values())} (“{plain}”)"


def collapse(loop: "Loop", name: str) -> str:
    """What the gate against collapse says of the chains of a turn."""
    lines = (loop.out / "gates" / f"{name}.txt").read_text().splitlines()
    (columns,) = [line.split() for line in lines if line.startswith("collapse ")]
    texts, pairs = columns[2:4]
    if (texts, pairs) == ("-", "-"):
        return "The gate against collapse left out nothing of its chains."
    return f"The gate against collapse would leave out {texts} of its texts and {pairs} more of its pairs (- is none)."

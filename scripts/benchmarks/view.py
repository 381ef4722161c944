"""The viewer: how fast its server answers while a person filters, sorts and opens."""

from __future__ import annotations

import http.client
import json
import random
import signal
import subprocess
import time
import urllib.parse
from typing import Iterator

from .frame import Bench, BenchError, Measure, Outcome, Target, workload
from .inputs import PLACES, SUBJECTS, VERBS, prompt_file
from .store import RUN, write

QUERIES = 200


@workload("view", "the viewer on 100,000 chains: 200 filtered queries, one after the other")
def view(bench: Bench) -> Outcome:
    chains = bench.size(100_000, 2_000)
    prompt_file(bench.folder / "prompts.jsonl", chains)
    write(bench, "chains.db")
    with Viewer(bench, "chains.db") as viewer:
        queries = list(filters(viewer, chains))
        lists, charts, opened = [], [], []
        found = []
        for _ in range(bench.pairs):
            answers = [viewer.ask("/api/chains", query) for query in queries]
            lists.append([seconds for seconds, _ in answers])
            found = [answer["total"] for _, answer in answers]
            charts.append([viewer.ask("/api/charts", {"q": query["q"]})[0] for query in queries])
            rows = [answer["rows"][0]["chain_id"] for _, answer in answers if answer["rows"]]
            opened.append([viewer.ask(f"/api/chains/{row}", {})[0] for row in rows])
    size = (bench.folder / "chains.db").stat().st_size
    return Outcome(
        measures=[
            Measure("list, 95th percentile", "ms", percentiles(lists, 95), Target("<=", 100)),
            Measure("list, median", "ms", percentiles(lists, 50)),
            Measure("list, slowest", "ms", percentiles(lists, 100)),
            Measure("charts above the list, 95th percentile", "ms", percentiles(charts, 95)),
            Measure("charts above the list, median", "ms", percentiles(charts, 50)),
            Measure("a chain, 95th percentile", "ms", percentiles(opened, 95), Target("<=", 100)),
        ],
        settings={
            "run": "amend run prompts.jsonl " + " ".join(map(str, RUN)),
            "viewer": "amend view --db chains.db --read-only",
            "chains": chains,
            "queries": QUERIES,
            "chains found by a query": f"{min(found):,} to {max(found):,}, {sorted(found)[len(found) // 2]:,} in the median",
            "some of them": [query["q"] for query in queries[:: QUERIES // 12]],
            "size of the store": f"{size / 2**20:,.0f} MiB",
        },
        notes=[
            "Times are those of whole requests over one connection, as a page sees them; each answer holds "
            "the exact count and up to 50 rows. Every query is different, and each repetition asks all of them."
        ],
    )


def percentiles(runs: list[list[float]], share: int) -> list[float]:
    """The percentile of each repetition, in milliseconds."""
    return [1000 * sorted(run)[min(len(run) - 1, len(run) * share // 100)] for run in runs]


def filters(viewer: Viewer, chains: int) -> Iterator[dict]:
    """Queries as people ask them: by step, by outcome, by text, joined, sorted, and on later pages."""
    dice = random.Random(7)
    principles = list(viewer.ask("/api/info", {})[1]["principles"])

    def words() -> str:
        return f"{dice.choice(SUBJECTS)} {dice.choice(VERBS)}"

    kinds = [
        lambda: f"principle:{dice.choice(principles)} violated:true",
        lambda: f"principle:{dice.choice(principles)} p>{dice.random():.3f}",
        lambda: f"p>{dice.random():.4f}",
        lambda: f"violated:true p<{dice.random():.3f} severity:{dice.choice(['minor', 'major', 'critical'])}",
        lambda: f"revised:true changed>{dice.random():.3f}",
        lambda: f"len>{0.5 + 2 * dice.random():.3f} stop:{dice.choice(['clean', 'rounds-done'])}",
        lambda: f"flag:{dice.choice(['preamble', 'unchanged', 'truncated', 'quote-unverified', 'no-verdict'])} rounds>={dice.randint(1, 2)}",
        lambda: f"tokens>{dice.randint(5, 200)}",
        lambda: f"prompt:q{dice.randrange(chains)}",
        lambda: f'text:"question {dice.randrange(chains)}"',
        lambda: f'"why does a {words()} in {dice.choice(PLACES)}"',
        lambda: f"{words()}",
        lambda: f"{words()} or ({words()} {dice.choice(PLACES)})",
        lambda: f"not {dice.choice(SUBJECTS)} revised:{dice.choice(['true', 'false'])}",
        lambda: f"(principle:{dice.choice(principles)} violated:true) or (principle:{dice.choice(principles)} p<{dice.random():.3f})",
        lambda: f"{dice.choice(SUBJECTS)} not principle:{dice.choice(principles)} violated:true",
    ]
    seen = set()
    while len(seen) < QUERIES:
        query = {"q": kinds[len(seen) % len(kinds)](), "limit": "50"}
        if len(seen) % 5 == 1:
            query["sort"] = dice.choice(["-changed", "len", "-tokens", "-rounds", "stop"])
        if len(seen) % 7 == 2:
            query["offset"] = str(50 * dice.randint(1, 20))
        if query["q"] not in seen:
            seen.add(query["q"])
            yield query


class Viewer:
    """`amend view` in the workload's folder, for as long as it is measured."""

    def __init__(self, bench: Bench, db: str):
        self.child = bench.start(
            "view", "--db", db, "--read-only", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        line = self.child.stdout.readline().strip()
        address = urllib.parse.urlsplit(line)
        token = urllib.parse.parse_qs(address.query).get("token")
        if not token:
            raise BenchError(f"the viewer printed no address: {line!r}")
        self.headers = {"authorization": f"Bearer {token[0]}"}
        self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.child.send_signal(signal.SIGINT)
        self.child.communicate()

    def ask(self, path: str, query: dict) -> tuple[float, dict]:
        """How long an answer takes, and the answer."""
        target = f"{path}?{urllib.parse.urlencode(query)}"
        begun = time.perf_counter()
        self.connection.request("GET", target, headers=self.headers)
        response = self.connection.getresponse()
        body = response.read()
        seconds = time.perf_counter() - begun
        if response.status != 200:
            raise BenchError(f"{target} answered {response.status}: {body[:200]!r}")
        return seconds, json.loads(body)

"""The viewer: how fast its server answers while a person filters, sorts and opens."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import signal
import subprocess
import time
import urllib.parse
from typing import Iterable, Iterator

from .frame import Bench, BenchError, Measure, Outcome, Target, workload
from .inputs import PLACES, SUBJECTS, VERBS, prompt_file
from .store import RUN, write

QUERIES = 200
# What a person may wait for any of them, in milliseconds.
SOON = Target("<=", 100)


@workload("view", "the viewer on 100,000 chains: 200 filtered queries, one after the other")
def view(bench: Bench) -> Outcome:
    chains = bench.size(100_000, 2_000)
    prompt_file(bench.folder / "prompts.jsonl", chains)
    write(bench, "chains.db")
    label(bench, "chains.db")
    with Viewer(bench, "chains.db") as viewer:
        queries = list(filters(viewer, chains))
        lists, counts, charts, opened = [], [], [], []
        found = []
        for _ in range(bench.pairs):
            answers = [viewer.ask("/api/chains", query) for query in queries]
            lists.append([seconds for seconds, _ in answers])
            found = [answer["total"] for _, answer in answers]
            counts.append(viewer.seconds(("/api/chains", {"q": query["q"], "limit": "0"}) for query in queries))
            charts.append(viewer.seconds(("/api/charts", {"q": query["q"]}) for query in queries))
            # The first chain of each list, with its neighbours there.
            rows = [(page["rows"][0]["chain_id"], query) for query, (_, page) in zip(queries, answers) if page["rows"]]
            opened.append(viewer.seconds((f"/api/chains/{row}", near(query)) for row, query in rows))
        whole = [viewer.seconds(everything(chains)) for _ in range(bench.pairs)]
        common = [viewer.seconds(common_words()) for _ in range(bench.pairs)]
    size = (bench.folder / "chains.db").stat().st_size
    return Outcome(
        measures=[
            Measure("list, 95th percentile", "ms", percentiles(lists, 95), SOON),
            Measure("list, median", "ms", percentiles(lists, 50)),
            Measure("list, slowest", "ms", percentiles(lists, 100)),
            Measure("count, 95th percentile", "ms", percentiles(counts, 95), SOON),
            Measure("charts, 95th percentile", "ms", percentiles(charts, 95), SOON),
            Measure("charts, median", "ms", percentiles(charts, 50)),
            Measure("charts, slowest", "ms", percentiles(charts, 100)),
            Measure("a chain within the list, 95th percentile", "ms", percentiles(opened, 95), SOON),
            Measure("all chains: every order, first, middle and last page, charts; slowest", "ms", percentiles(whole, 100), SOON),
            Measure("words that every chain holds: list and charts, slowest", "ms", percentiles(common, 100), SOON),
        ],
        settings={
            "run": "amend run prompts.jsonl " + " ".join(map(str, RUN)),
            "viewer": "amend view --db chains.db --read-only",
            "labels": "amend label --where '" + LABELLED + "' accept --yes",
            "chains": chains,
            "queries": QUERIES,
            "chains found by a query": f"{min(found):,} to {max(found):,}, {sorted(found)[len(found) // 2]:,} in the median",
            "some of them": [query["q"] for query in queries[:: QUERIES // 12]],
            "words that every chain holds": list(dict.fromkeys(query["q"] for _, query in common_words())),
            "size of the store": f"{size / 2**20:,.0f} MiB",
        },
        notes=[
            "Times are those of whole requests over one connection, as a page sees them; each answer holds "
            "the exact count and up to 50 rows. Every query is different, and each repetition asks all of them."
        ],
    )


@workload("pages", "the viewer on two runs of 50,000 chains each: the first constitution and the first comparison")
def pages(bench: Bench) -> Outcome:
    chains = bench.size(50_000, 1_000)
    prompt_file(bench.folder / "prompts.jsonl", chains)
    write(bench, "runs.db")
    bench.run("run", "prompts.jsonl", *RUN, *SECOND, "--db", "runs.db")
    address, read, constitution, comparison, later = [], [], [], [], []
    for _ in range(bench.pairs):
        # What is counted is kept, so that only the first answers of a viewer count.
        with Viewer(bench, "runs.db") as viewer:
            address.append(1000 * viewer.began)
            read.append(1000 * viewer.ask("/api/charts", {"q": ""})[0])
            first, second = (run["run_id"] for run in viewer.ask("/api/info", {})[1]["runs"])
            both = {"a": first, "b": second}
            constitution.append(1000 * viewer.ask(f"/api/runs/{second}", {})[0])
            seconds, answer = viewer.ask("/api/compare", both)
            comparison.append(1000 * seconds)
            if answer["comparison"]["pairs"] != chains:
                raise BenchError(f"{answer['comparison']['pairs']} of {chains} chains are in pairs")
            later.append(1000 * viewer.ask("/api/compare", {**both, "differs": "true", "offset": str(chains // 4)})[0])
    return Outcome(
        measures=[
            Measure("from the start to the address", "ms", address),
            Measure("charts, first answer of a viewer", "ms", read, SOON),
            Measure("constitution, first answer", "ms", constitution, FIRST),
            Measure("comparison, first answer", "ms", comparison, FIRST),
            Measure("comparison, a later page", "ms", later, SOON),
        ],
        settings={
            "runs": ["amend run prompts.jsonl " + " ".join(map(str, [*RUN, *more])) for more in ([], SECOND)],
            "viewer": "amend view --db runs.db --read-only",
            "chains of a run": chains,
        },
        notes=[
            "A viewer prints its address once it has read what lists need of every chain, or after half a second."
        ],
    )


# Another run over the same prompts.
SECOND = ["--seed", 7]
# What a person may wait for something that is counted once.
FIRST = Target("<=", 500)
LABELLED = "revised:true p>0.9"


def label(bench: Bench, db: str) -> None:
    """Some chains are labelled, as in a store that people work with."""
    bench.run("label", "--db", db, "--where", LABELLED, "--who", "bench", "accept", "--yes")


def near(query: dict) -> dict:
    """What a chain's address keeps of its list's."""
    return {name: query[name] for name in ("q", "sort") if name in query}


def everything(chains: int) -> Iterator[tuple[str, dict]]:
    """Without a filter: every order both ways, from the first page to the last."""
    for sort in ["prompt", "rounds", "changed", "len", "stop", "label", "tokens"]:
        for order in (sort, f"-{sort}"):
            for offset in (0, chains // 2, chains - 50):
                yield "/api/chains", {"q": "", "sort": order, "offset": str(offset), "limit": "50"}
    yield "/api/charts", {"q": ""}


def common_words() -> Iterator[tuple[str, dict]]:
    """Words of every prompt or every reply, and what holds none of them."""
    for q in ["question", '"why does a"', "reply", "not reply", "sentences or question"]:
        for path in ("/api/chains", "/api/charts"):
            yield path, {"q": q}
    yield "/api/chains", {"q": "sentences", "sort": "-changed", "offset": "5000"}


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
    seen: set[str] = set()
    # Some kinds have few queries: those that were asked are passed over.
    for kind in itertools.cycle(kinds):
        if len(seen) == QUERIES:
            return
        query = {"q": kind(), "limit": "50"}
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
        begun = time.perf_counter()
        self.child = bench.start(
            "view", "--db", db, "--read-only", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        line = self.child.stdout.readline().strip()
        # How long the address took.
        self.began = time.perf_counter() - begun
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

    def seconds(self, asked: Iterable[tuple[str, dict]]) -> list[float]:
        """How long each answer takes."""
        return [self.ask(path, query)[0] for path, query in asked]

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

"""One walk round the circle: what several stages do, and going through them."""

import json
import subprocess
import sys
import time
from pathlib import Path

from .settings import Settings
from .stages import GATES, KEPT, STAGES, Failed, default_model

ROOT = Path(__file__).resolve().parent.parent.parent


class Loop:
    """The circle in a folder of its own. Stages that are done leave a mark and are not done again."""

    def __init__(self, out: Path, settings: Settings):
        self.root = ROOT
        self.out = out.absolute()
        self.settings = settings
        self.program = ROOT / "target/release/amend"
        self.python = [str(ROOT / "scripts/python-env"), "trainers"]
        self.small = out.name == "small"

    def run(self, only: list[str] | None) -> int:
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "settings.json").write_text(json.dumps(vars(self.settings), indent=1) + "\n")
        if not self.program.is_file():
            print("loop: target/release/amend is missing; run `make build model`", file=sys.stderr)
            return 1
        for stage in STAGES:
            if only and stage.name not in only:
                continue
            done = self.out / "done" / stage.name
            if done.is_file():
                print(f"loop: {stage.name} was done before")
                continue
            print(f"loop: {stage.name}: {stage.about}", flush=True)
            begun = time.monotonic()
            try:
                stage.work(self)
            except Failed as error:
                print(f"loop: {stage.name}: {error}", file=sys.stderr)
                return 1
            done.parent.mkdir(exist_ok=True)
            done.write_text(json.dumps({"seconds": round(time.monotonic() - begun, 1)}) + "\n")
        return 0

    def call(self, command: list, allowed: tuple[int, ...] = (0,), **options) -> subprocess.CompletedProcess:
        """Runs a command, keeps what it was and how long it took, and fails where it did."""
        words = [str(word) for word in command]
        begun = time.monotonic()
        done = subprocess.run(words, cwd=ROOT, check=False, text=True, **options)
        cache = str(default_model().parent)
        places = ((str(self.out), "OUT"), (str(ROOT) + "/", ""), (cache, "CACHE"))
        shown = words
        for place, name in places:
            shown = [word.replace(place, name) for word in shown]
        entry = {"command": shown, "code": done.returncode, "seconds": round(time.monotonic() - begun, 1)}
        with (self.out / "commands.jsonl").open("a") as log:
            log.write(json.dumps(entry) + "\n")
        if done.returncode not in allowed:
            raise Failed(f"`{' '.join(shown)}` ended with code {done.returncode}")
        return done

    def amend(self, command: str, *arguments, allowed: tuple[int, ...] = (0,), **options) -> subprocess.CompletedProcess:
        threads = self.settings.threads if command in ("run", "eval") else None
        more = ["--threads", threads] if threads else []
        return self.call([self.program, command, *arguments, *more], allowed, **options)

    def constitution(self, name: str) -> Path:
        return ROOT / "scripts/training/constitutions" / f"{name}.yaml"

    @property
    def model(self) -> Path:
        return self.out / "model"

    def db(self, name: str) -> Path:
        return self.out / f"{name}.db"

    def adapter(self, name: str) -> Path:
        return self.out / "adapters" / f"{name}.gguf"

    def chains(self, name: str, constitution: str, *more) -> None:
        """Answers the training prompts and mends what breaks a principle."""
        s = self.settings
        self.amend(
            "run", "datasets/bench.jsonl", "-c", self.constitution(constitution), "--pack", "scripts/training/pack",
            "--db", self.db(name), "--limit", s.prompts, "--samples", s.samples, "--max-tokens", s.max_tokens,
            "--temp", s.temperature, "--recheck", "--kv", "streams", "--seed", s.seed, *more, allowed=(0, 3), stdout=subprocess.DEVNULL,
        )

    def export(
        self, db: str, form: str, name: str, more: list | None = None, where: str = KEPT, gates: list | None = None
    ) -> None:
        folder = self.out / "data" / name
        gates = GATES if gates is None else gates
        done = self.amend(
            "export", "--format", form, "--db", self.db(db), "--out", folder, "--where", where, *gates, *(more or []),
            "--json", stdout=subprocess.PIPE,
        )
        (self.out / "data" / f"{name}.json").write_text(done.stdout)

    def gates(self, db: str) -> None:
        """What all gates say of the chains, those that stay open for the export too."""
        done = self.amend("gate", "--db", self.db(db), "--where", KEPT, stdout=subprocess.PIPE)
        path = self.out / "gates" / f"{db}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(done.stdout)

    def train(self, data: str, name: str, steps: int, rate: float) -> None:
        """Trains with the script that the export wrote, and brings the adapter back."""
        s = self.settings
        folder = self.out / "adapters" / name
        self.call([
            *self.python, self.out / "data" / data / "train.py", "--model", self.model, "--out", folder,
            "--steps", steps, "--batch", s.batch, "--lr", rate, "--max-length", s.max_length, "--seed", s.seed,
        ])
        converted = ["--base", default_model(), "--out", self.adapter(name)]
        self.call([*self.python, ROOT / "scripts/lora-to-gguf.py", folder, *converted])

    def evaluate(self, name: str, constitution: Path, *more) -> None:
        """One side against another, on prompts that no chain answered and on texts for drift."""
        s = self.settings
        held_out = self.out / "held-out"
        held_out.mkdir(exist_ok=True)
        for source, count in (("benign", s.held_out), ("general", s.texts)):
            lines = (ROOT / f"datasets/{source}.jsonl").read_text().splitlines(keepends=True)
            (held_out / f"{source}.jsonl").write_text("".join(lines[:count]))
        self.amend(
            "eval", "--suite", held_out / "benign.jsonl", held_out / "general.jsonl", "-c", constitution,
            "--db", self.db("eval"), "--out", self.out / "eval" / name, "--max-tokens", s.max_tokens,
            "--seed", s.seed, *more, allowed=(0, 3), stdout=subprocess.DEVNULL,
        )

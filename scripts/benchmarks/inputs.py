"""Inputs that are made: the same for every run and every machine."""

from __future__ import annotations

import json
import random
from pathlib import Path

SUBJECTS = "river mountain engine garden library harbour bridge orchestra satellite glacier market school".split()
VERBS = "grow change fail move sound begin end work matter cost last freeze".split()
PLACES = "winter summer town space daylight theory practice history children water silence general".split()


def prompt_file(path: Path, lines: int) -> Path:
    """A JSONL file of different short questions, each with a number of its own."""
    dice = random.Random(1)
    with path.open("w") as file:
        for number in range(lines):
            subject, verb, place = dice.choice(SUBJECTS), dice.choice(VERBS), dice.choice(PLACES)
            question = f"Question {number}: why does a {subject} {verb} in {place}?"
            file.write(json.dumps({"id": f"q{number}", "prompt": question}) + "\n")
    return path

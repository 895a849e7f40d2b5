"""What has been tried and what came of it: one line of JSON a trial, so that a row can be gone on with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trial:
    """number: counted from 0. count: how many of the row's tests it stands for. note: what was seen, or what failed."""

    number: int
    count: int
    passed: bool
    note: str
    seconds: float


class Ledger:
    """The trials of one row, in a file."""

    def __init__(self, folder: Path, row: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{row}.jsonl"

    def trials(self) -> list[Trial]:
        """All that were finished; a line that was cut off by a kill does not count."""
        if not self.path.exists():
            return []
        return [Trial(**json.loads(line)) for line in self.path.read_text().splitlines() if line.endswith("}")]

    def add(self, trial: Trial) -> None:
        """Write a trial down."""
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")

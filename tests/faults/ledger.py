"""What has been tried and what came of it: one line of JSON a trial, so that a row can be gone on with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """One trial. count: how many of the row's tests it stands for. note: what was seen, or what broke."""

    number: int
    count: int
    passed: bool
    note: str
    seconds: float


class Ledger:
    """The trials of one row, in a file."""

    def __init__(self, folder: Path, row: str) -> None:
        self.path = folder / f"{row}.jsonl"

    def outcomes(self) -> list[Outcome]:
        """All that were finished, by number: of each the last word. A line that a kill cut off does not count."""
        found: dict[int, Outcome] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else ():
            try:
                outcome = Outcome(**json.loads(line))
            except ValueError:
                continue
            found[outcome.number] = outcome
        return [found[number] for number in sorted(found)]

    def add(self, outcome: Outcome) -> None:
        """Write a trial down, on a line of its own even where a kill cut the last one off."""
        cut_off = self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" * cut_off + json.dumps(asdict(outcome)) + "\n")

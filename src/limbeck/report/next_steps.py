"""What a person can do with a run that has ended, as commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def next_steps(models: Path, result: Mapping[str, Any]) -> list[str]:
    """A few lines of commands for the student that is best on validation; none where no student ended well.

    models: the folder of the run's saved models.
    """
    best = best_student(result)
    if best is None:
        return []
    folder = shlex.quote(str(models / f"{best['arm']}-seed{best['seed']}"))
    return [
        f"best on validation: {best['arm']}, seed {best['seed']}",
        f"  measure it:  limbeck evaluate {folder}",
        f"  use it:      limbeck predict {folder} IMAGE",
    ]


def best_student(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of the arm with the highest mean accuracy on validation, the seed with the highest."""
    by_arm: dict[str, list[Mapping[str, Any]]] = {}
    for row in result["arms"]:
        if row["role"] == "student" and not row.get("failure") and row.get("validation"):
            by_arm.setdefault(row["arm"], []).append(row)
    if not by_arm:
        return None
    best = max(by_arm.values(), key=lambda rows: sum(map(_accuracy, rows)) / len(rows))
    return max(best, key=_accuracy)


def _accuracy(row: Mapping[str, Any]) -> float:
    return row["validation"]["top1"]

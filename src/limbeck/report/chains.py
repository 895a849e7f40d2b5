"""Chains of teachers: students that were themselves taught by a student or by a distilled teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .arms import Arm
from .formatting import cell, format_optional, markdown_table
from .statistics import mean

ARROW = " → "


def chain_table(arms: Sequence[Arm]) -> str:
    """Each arm with a teacher that has teachers itself: the accuracy along its chain, and the epochs that it cost.

    Models of equal depth are joined by ` + `. The epochs are those of all models of the chain together, which is what a
    student without the chain could have been trained for.
    """
    by_name = {arm.name: arm for arm in arms}
    rows: list[list[str]] = []
    for arm in arms:
        depths = _depths(arm.name, by_name)
        if max(depths.values()) < 2:
            continue
        levels = [[by_name[name] for name in depths if depths[name] == level] for level in range(depths[arm.name] + 1)]
        epochs = [_epochs(by_name[name]) for name in depths]
        rows.append(
            [
                ARROW.join(" + ".join(cell(one.name) for one in level) for level in levels),
                cell(", ".join(arm.teacher_labels)),
                ARROW.join(
                    " + ".join(format_optional(one.average("test", "top1", 100)) for one in level) for level in levels
                ),
                format_optional(sum(epochs), 0),
            ]
        )
    return markdown_table(["Chain", "Teachers of the last", "Top-1 (%) along it", "Epochs of all models"], rows)


def _depths(name: str, by_name: Mapping[str, Arm]) -> dict[str, int]:
    """The length of the longest chain that ends at each ancestor of an arm and at the arm itself, which comes last."""
    found: dict[str, int] = {}
    waiting = [name]
    while waiting:
        teachers = [teacher for teacher in by_name[waiting[-1]].teachers if teacher in by_name]
        missing = [teacher for teacher in teachers if teacher not in found]
        if missing:
            waiting += reversed(missing)
            continue
        last = waiting.pop()
        found[last] = 1 + max(found[teacher] for teacher in teachers) if teachers else 0
    return found


def _epochs(arm: Arm) -> float:
    """The epochs that an arm was trained for, mean over its seeds; 0 for a model from a file."""
    return mean([float(learner.get("epochs_run") or 0) for learner in arm.learners])

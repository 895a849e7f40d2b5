"""Selection of the best trial on the validation set, and the recipe with which it is tested."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.errors import LimbeckError

from .trials import MergedTrials

WITHOUT_SCORE = ("failed", "not started", "pruned")
"""How a training ends whose accuracy does not count; the first of these that a seed has is the outcome."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one arm in one trial. values: validation top-1 of each seed that was measured.

    ended: `finished`, `patience`, `pruned`, `not started` or `failed`, the worst of all seeds.
    """

    values: tuple[float, ...]
    ended: str

    @property
    def mean(self) -> float:
        """The objective by which trials are compared; minus infinity for those that failed or were pruned."""
        if not self.values or self.ended in WITHOUT_SCORE:
            return -math.inf
        return math.fsum(self.values) / len(self.values)


def outcomes(rows: Iterable[Mapping[str, Any]]) -> dict[str, Outcome]:
    """Outcomes by arm, from the results of learners."""
    by_arm: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_arm.setdefault(row["arm"], []).append(row)
    return {arm: _outcome(seeds) for arm, seeds in by_arm.items()}


def _outcome(rows: Sequence[Mapping[str, Any]]) -> Outcome:
    accuracies = [(row.get("validation") or {}).get("top1") for row in rows]
    values = tuple(float(value) for value in accuracies if value is not None and math.isfinite(value))
    ended = [row["ended"] for row in rows]
    return Outcome(values, next((word for word in WITHOUT_SCORE if word in ended), ended[0]))


def best_of(of_trials: Sequence[Outcome], arm: str) -> int:
    """The number of the trial with the highest mean; the first of several.

    Raises LimbeckError if all trials failed.
    """
    means = [outcome.mean for outcome in of_trials]
    if max(means) == -math.inf:
        raise LimbeckError(f"sweep: {arm}: all trials failed, so none can be selected")
    return means.index(max(means))


def selected_recipe(trials: MergedTrials, best: Mapping[str, int], as_written: int | None) -> dict[str, Any]:
    """The recipe for the final runs, as a tree.

    It has the arms that no axis changes, each swept arm with the values of its best trial under its own name, and with
    the values of the recipe under `NAME.as-written`, if that is another trial.

    best: number of the best trial by arm. as_written: number of the trial with the recipe's own values.
    """
    tree = trials.recipe.to_dict()
    names: dict[str, str] = {}  # of the selected variants
    for arm in trials.variants[0]:
        names[trials.variants[best.get(arm, 0)][arm]] = arm
        if as_written is not None and arm in best:
            names.setdefault(trials.variants[as_written][arm], f"{arm}.as-written")
    best_names = {of[arm]: names[trials.variants[best.get(arm, 0)][arm]] for of in trials.variants for arm in of}

    def new_name(variant: str) -> str:
        return names.get(variant) or best_names.get(variant, variant)

    students = {}
    for variant, name in names.items():
        student = tree["students"][variant]
        student["teacher"] = [{**teacher, "name": new_name(teacher["name"])} for teacher in student["teacher"]]
        student["baseline"] = new_name(student["baseline"]) if student["baseline"] else None
        students[name] = student
    used = {teacher["name"] for student in students.values() for teacher in student["teacher"]}
    used |= {teacher["name"] for name in used & set(tree["teachers"]) for teacher in tree["teachers"][name]["teacher"]}
    return tree | {"students": students, "teachers": {n: t for n, t in tree["teachers"].items() if n in used}}

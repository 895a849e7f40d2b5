"""Which setting is the best, on validation, and the recipe with which it is then tested."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.errors import LimbeckError

from .trials import Settings


@dataclass(frozen=True)
class Outcome:
    """What became of one arm in one setting. values: validation top-1 of each seed that ended well.

    ended: `finished`, `patience`, `pruned` or `failed`, the worst of all seeds.
    """

    values: tuple[float, ...]
    ended: str

    @property
    def mean(self) -> float:
        """What settings are compared by; one that failed or was pruned is worth nothing."""
        if not self.values or self.ended in WORTH_NOTHING:
            return -math.inf
        return math.fsum(self.values) / len(self.values)


WORTH_NOTHING = ("failed", "not started", "pruned")


def outcomes(rows: Iterable[Mapping[str, Any]]) -> dict[str, Outcome]:
    """By arm, from the results of learners."""
    of_arm: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_arm.setdefault(row["arm"], []).append(row)
    return {arm: _outcome(found) for arm, found in of_arm.items()}


def _outcome(rows: Sequence[Mapping[str, Any]]) -> Outcome:
    accuracies = [(row.get("validation") or {}).get("top1") for row in rows]
    values = tuple(float(value) for value in accuracies if value is not None and math.isfinite(value))
    ended = [row["ended"] for row in rows]
    return Outcome(values, next((word for word in WORTH_NOTHING if word in ended), ended[0]))


def best_of(found: Sequence[Outcome], arm: str) -> int:
    """The number of the setting with the highest mean; of equals the first.

    Raises LimbeckError where every one failed.
    """
    means = [outcome.mean for outcome in found]
    if max(means) == -math.inf:
        raise LimbeckError(f"sweep: {arm}: no setting ended well, so none can be chosen")
    return means.index(max(means))


def chosen_recipe(settings: Settings, best: Mapping[str, int], standard: int | None) -> dict[str, Any]:
    """The recipe of the last stage: arms that no axis touches, each swept arm at its best under its own name, and as
    the recipe was written under `NAME.as-written`, where that is another setting.
    """
    tree = settings.recipe.to_dict()
    names: dict[str, str] = {}  # variant to what it is called now
    for arm in settings.variants[0]:
        chosen = settings.variants[best.get(arm, 0)][arm]
        names[chosen] = arm
        if standard is not None and arm in best:
            names.setdefault(settings.variants[standard][arm], f"{arm}.as-written")
    at_best = {of[arm]: names[settings.variants[best.get(arm, 0)][arm]] for of in settings.variants for arm in of}

    def called(name: str) -> str:
        return names.get(name) or at_best.get(name, name)

    students = {}
    for variant, name in names.items():
        about = tree["students"][variant]
        about["teacher"] = [{**voice, "name": called(voice["name"])} for voice in about["teacher"]]
        about["baseline"] = called(about["baseline"]) if about["baseline"] else None
        students[name] = about
    heard = {voice["name"] for about in students.values() for voice in about["teacher"]}
    teachers = {name: about for name, about in tree["teachers"].items() if name in heard}
    heard |= {voice["name"] for about in teachers.values() for voice in about["teacher"]}
    return tree | {"students": students, "teachers": {n: a for n, a in tree["teachers"].items() if n in heard}}

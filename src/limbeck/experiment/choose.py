"""Which setting is the best, on validation, and the recipe with which it is then tested."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.runs.errors import LimbeckError

from .settings import Settings


@dataclass(frozen=True)
class Scores:
    """Validation top-1 of each arm by seed; an arm whose learner failed has fewer."""

    by_arm: Mapping[str, tuple[float, ...]]
    seeds: int

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Scores:
        """From the results of learners."""
        found: dict[str, list[float]] = {}
        seeds: set[int] = set()
        for row in rows:
            seeds.add(row["seed"])
            value = (row.get("validation") or {}).get("top1")
            if value is not None and math.isfinite(value):
                found.setdefault(row["arm"], []).append(float(value))
        return cls({arm: tuple(values) for arm, values in found.items()}, len(seeds))

    def values(self, arm: str) -> list[float]:
        """Of all seeds that ended well."""
        return list(self.by_arm.get(arm, ()))

    def mean(self, arm: str) -> float:
        """What settings are compared by: a setting that failed with a seed is worth nothing."""
        values = self.values(arm)
        return math.fsum(values) / len(values) if values else -math.inf


def best_of(scores: Scores, settings: Settings, arm: str) -> int:
    """The number of the setting in which an arm has the highest mean; of equals the first.

    Raises LimbeckError where every one failed.
    """
    means = [scores.mean(of[arm]) for of in settings.variants]
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

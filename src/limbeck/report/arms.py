"""The learners of a result, gathered by arm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import statistics

Learner = Mapping[str, Any]
"""One entry of `result["arms"]`: one model trained with one seed."""
MOST_CLASSES_OF_A_MATRIX = 200
"""As `Evaluation.to_dict` writes confusion matrices."""
CHANCE = 0.01
"""An accuracy that guessing reaches this often is not clearly better than guessing."""


@dataclass(frozen=True)
class Arm:
    """The learners that differ in nothing but their seed. members: the teachers that an ensemble is made of."""

    name: str
    role: str
    model: str
    teachers: tuple[str, ...]
    baseline: str | None
    learners: tuple[Learner, ...]
    split: str = "test"
    members: tuple[str, ...] = ()

    def of_seed(self, part: str, metric: str, scale: float = 1.0) -> dict[int, float]:
        """Seed to a finite number, as in `of_seed("test", "top1", 100)`; what is missing is left out."""
        found = {learner["seed"]: (learner.get(part) or {}).get(metric) for learner in self.learners}
        return {seed: value * scale for seed, value in found.items() if value is not None and math.isfinite(value)}

    def values(self, part: str, metric: str, scale: float = 1.0) -> list[float]:
        """The same without the seeds."""
        return list(self.of_seed(part, metric, scale).values())

    def average(self, part: str, metric: str, scale: float = 1.0) -> float | None:
        """The mean over seeds; None where nothing was measured."""
        values = self.values(part, metric, scale)
        return statistics.mean(values) if values else None

    @property
    def at_chance(self) -> bool:
        """Whether no learner of it is clearly better than answering at random, or the same to every image."""
        measured = [learner["test"] for learner in self.learners if learner.get("test")]
        return bool(measured) and all(map(_at_chance, measured))

    @property
    def confusion(self) -> dict[tuple[int, int], int]:
        """Images by (class, class answered), of all seeds together; empty where results have no confusion matrix."""
        found: dict[tuple[int, int], int] = {}
        for learner in self.learners:
            evaluation = learner.get("test") or {}
            for true, answered, count in _pairs(
                evaluation.get("confusion") or (), len(evaluation.get("per_class") or ())
            ):
                found[true, answered] = found.get((true, answered), 0) + count
        return found

    @property
    def failed(self) -> tuple[Learner, ...]:
        """The learners that ended early because a number was not finite."""
        return tuple(learner for learner in self.learners if learner.get("failure"))


def judged_split(result: Mapping[str, Any]) -> str:
    """The split that accuracies are of: `test`, or `validation` where a run of trials left the test split unread."""
    evaluation = (result.get("recipe") or {}).get("evaluation") or {}
    return "test" if evaluation.get("test", True) else "validation"


def arms_of(result: Mapping[str, Any]) -> list[Arm]:
    """Teachers first, then students, each in the order of the recipe.

    Where the test split was left unread, what is measured on validation stands in its place.
    """
    split = judged_split(result)
    gathered: dict[str, list[Learner]] = {}
    for learner in result["arms"]:
        gathered.setdefault(learner["arm"], []).append(learner if split == "test" else _on_validation(learner))
    arms = [
        Arm(
            name=name,
            role=learners[0]["role"],
            model=str(learners[0].get("model") or "–"),
            teachers=_names(learners[0].get("teacher"), gathered),
            baseline=learners[0].get("baseline"),
            learners=tuple(learners),
            split=split,
        )
        for name, learners in gathered.items()
    ]
    recipe = result.get("recipe") or {}
    written = [name for group in ("teachers", "students") for name in recipe.get(group) or ()]
    places = {name: place for place, name in enumerate(written)}
    return sorted(arms, key=lambda arm: (arm.role != "teacher", places.get(arm.name, len(places))))


def _on_validation(learner: Learner) -> Learner:
    judged = {**learner, "test": learner.get("validation")}
    for part in ("ensemble", "against_baseline"):
        if learner.get(part):
            judged[part] = {**learner[part], "test": learner[part].get("validation")}
    if agreement := (learner.get("ensemble") or {}).get("agreement"):
        judged["ensemble"]["agreement"] = {"test": agreement.get("validation")}
    return judged


def _names(teacher: Any, known: Mapping[str, object]) -> tuple[str, ...]:
    """The teachers of a learner: a list of names; results of earlier versions have one text (`a`, or `a, b`)."""
    if not isinstance(teacher, str):
        return tuple(teacher or ())
    parts = tuple(teacher.split(", "))
    return parts if teacher not in known and all(part in known for part in parts) else (teacher,)


def _pairs(confusion: Sequence[Sequence[int]], classes: int) -> Iterator[tuple[int, int, int]]:
    """A matrix, or a list of (class, class answered, images) where there are too many classes for one."""
    if classes > MOST_CLASSES_OF_A_MATRIX:
        yield from ((true, answered, count) for true, answered, count in confusion)
        return
    for true, row in enumerate(confusion):
        yield from ((true, answered, count) for answered, count in enumerate(row) if count)


def _at_chance(evaluation: Mapping[str, Any]) -> bool:
    classes, n, top1 = len(evaluation.get("per_class") or ()), evaluation.get("n"), evaluation.get("top1")
    if classes < 2 or not n or top1 is None:
        return False
    balanced = evaluation.get("balanced_accuracy")
    same_answer_to_all = balanced is not None and balanced <= 1 / classes + 1e-9
    return same_answer_to_all or statistics.binomial_tail(round(top1 * n), n, 1 / classes) > CHANCE

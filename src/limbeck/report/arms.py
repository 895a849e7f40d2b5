"""The learners of a result grouped by arm, and the teacher ensembles that they were trained with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.storage.run_directory import LearnerId

from . import statistics

Learner = Mapping[str, Any]
"""One entry of `result["arms"]`: one model trained with one seed."""
ENSEMBLE = "ensemble"
"""The role of an arm that stands for several teachers."""
MAX_CLASSES_OF_MATRIX = 200
"""Up to this many classes `Evaluation.to_dict` writes confusion matrices, above it a sparse list."""
FROM_A_FILE = "from a file"
"""How the training of a pretrained model `ended`, in `result.json`."""
SIGNIFICANCE = 0.01
"""An accuracy that guessing reaches with a higher probability is not clearly better than chance."""
WEIGHED_BY = {"learned": ", learned weights", "entropy": ", weighted by entropy"}
"""What the name of an ensemble says of its weights; those by confidence need labels, so they only serve training."""
SUMMED_COSTS = ("parameters", "megabytes", "multiply_adds", "image_ms_median", "batch_ms_median")
"""The cost of an ensemble is the sum of its members' costs; percentiles cannot be summed."""


@dataclass(frozen=True)
class Arm:
    """Learners that differ only in their seed. members: the teachers of an ensemble.

    teacher_epochs: for each teacher, the epoch of the snapshot that teaches, or None; empty without snapshots.
    """

    name: str
    role: str
    model: str
    teachers: tuple[str, ...]
    baseline: str | None
    learners: tuple[Learner, ...]
    split: str = "test"
    members: tuple[str, ...] = ()
    teacher_epochs: tuple[int | None, ...] = ()

    @property
    def teacher_labels(self) -> tuple[str, ...]:
        """The teachers in words: `large`, or `large (epoch 5)` for a snapshot."""
        epochs = self.teacher_epochs or (None,) * len(self.teachers)
        return tuple(
            name if epoch is None else f"{name} (epoch {epoch})"
            for name, epoch in zip(self.teachers, epochs, strict=True)
        )

    @property
    def has_ensemble(self) -> bool:
        """Whether what teaches this arm is measured apart: several teachers, or a snapshot."""
        return len(self.teachers) > 1 or any(self.teacher_epochs)

    def by_seed(self, part: str, metric: str, scale: float = 1.0) -> dict[int, float]:
        """Finite values of a metric by seed, as in `by_seed("test", "top1", 100)`; missing values are left out."""
        values = {learner["seed"]: (learner.get(part) or {}).get(metric) for learner in self.learners}
        return {seed: value * scale for seed, value in values.items() if value is not None and math.isfinite(value)}

    def values(self, part: str, metric: str, scale: float = 1.0) -> list[float]:
        """The values of `by_seed` without the seeds."""
        return list(self.by_seed(part, metric, scale).values())

    def average(self, part: str, metric: str, scale: float = 1.0) -> float | None:
        """The mean over seeds; None if nothing was measured."""
        values = self.values(part, metric, scale)
        return statistics.mean(values) if values else None

    @property
    def at_chance(self) -> bool:
        """Whether no learner is clearly better than guessing, or than predicting one class for all images."""
        measured = [learner["test"] for learner in self.learners if learner.get("test")]
        return bool(measured) and all(map(_at_chance, measured))

    @property
    def confusion(self) -> dict[tuple[int, int], int]:
        """Images by (true class, predicted class), summed over seeds; empty if the results hold no confusion matrix."""
        counts: dict[tuple[int, int], int] = {}
        for learner in self.learners:
            evaluation = learner.get("test") or {}
            matrix, classes = evaluation.get("confusion") or (), len(evaluation.get("per_class") or ())
            for true, predicted, count in _confusion_counts(matrix, classes):
                counts[true, predicted] = counts.get((true, predicted), 0) + count
        return counts

    @property
    def failed(self) -> tuple[Learner, ...]:
        """The learners that ended early because a loss was not finite."""
        return tuple(learner for learner in self.learners if learner.get("failure"))


def learner_id(learner: Learner) -> LearnerId:
    """Which files of a run are of a learner: an arm from a file has no seed, although its row says 0."""
    return LearnerId(learner["arm"], None if learner.get("ended") == FROM_A_FILE else learner["seed"])


def reported_split(result: Mapping[str, Any]) -> str:
    """The split of the reported accuracies: `test`, or `validation` if `evaluation.test` is false."""
    evaluation = (result.get("recipe") or {}).get("evaluation") or {}
    return "test" if evaluation.get("test", True) else "validation"


def arms_of(result: Mapping[str, Any]) -> list[Arm]:
    """Teachers first, then students, each in the order of the recipe.

    If the test set was not evaluated, the validation results take its place.
    """
    split = reported_split(result)
    by_arm: dict[str, list[Learner]] = {}
    for learner in result["arms"]:
        by_arm.setdefault(learner["arm"], []).append(learner if split == "test" else _validation_as_test(learner))
    arms = [
        Arm(
            name=name,
            role=learners[0]["role"],
            model=str(learners[0].get("model") or "–"),
            teachers=_teacher_names(learners[0].get("teacher"), by_arm),
            baseline=learners[0].get("baseline"),
            learners=tuple(learners),
            split=split,
            teacher_epochs=tuple(learners[0].get("teacher_epochs") or ()),
        )
        for name, learners in by_arm.items()
    ]
    recipe = result.get("recipe") or {}
    names = [name for group in ("teachers", "students") for name in recipe.get(group) or ()]
    order = {name: place for place, name in enumerate(names)}
    return sorted(arms, key=lambda arm: (arm.role != "teacher", order.get(arm.name, len(order))))


def teacher_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The teacher of an arm, or the ensemble of its teachers; None if it has none or the teacher was not measured."""
    if arm.has_ensemble:
        return _ensemble(arm, arms)
    return next((other for other in arms if other.name in arm.teachers and other.values("test", "top1")), None)


def with_ensembles(arms: Sequence[Arm]) -> list[Arm]:
    """The arms, with each distinct teacher ensemble inserted between teachers and students."""
    ensembles = {found.name: found for arm in arms if arm.has_ensemble if (found := teacher_of(arm, arms))}
    teachers = [arm for arm in arms if arm.role == "teacher"]
    return [*teachers, *ensembles.values(), *(arm for arm in arms if arm.role != "teacher")]


def agreement_of_members(ensemble: Arm) -> list[float]:
    """How often two members of an ensemble predict the same class: percent, mean over pairs, one value per seed."""
    values: list[float] = []
    for learner in ensemble.learners:
        matrix = learner.get("agreement") or ()
        pairs = [row[column] for place, row in enumerate(matrix) for column in range(place)]
        values += [100 * statistics.mean(pairs)] if pairs else []
    return values


def _ensemble(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The teachers of an arm as one arm, with the metrics of the ensemble and the summed costs of its members."""
    members = [other for name in arm.teachers for other in arms if other.name == name]
    measured = [learner for learner in arm.learners if (learner.get("ensemble") or {}).get("test")]
    if not measured or len(members) != len(arm.teachers):
        return None
    cost: dict[str, float] = {}
    for metric in SUMMED_COSTS:
        values = [value for member in members if (value := member.average("efficiency", metric)) is not None]
        if len(values) == len(members):
            cost[metric] = math.fsum(values)
    weights = measured[0]["ensemble"].get("weights") or ()
    equal = max(weights, default=0.0) - min(weights, default=0.0) < 1e-9
    weighed_by, labels = measured[0]["ensemble"].get("weighed_by"), arm.teacher_labels
    fixed = equal or weighed_by == "learned"
    terms = labels if fixed else [f"{w:.2g} {name}" for w, name in zip(weights, labels, strict=True)]
    name = " + ".join(terms) + WEIGHED_BY.get(weighed_by, "")
    learners = tuple(
        {
            "arm": name, "seed": learner["seed"], "test": learner["ensemble"]["test"],
            "validation": learner["ensemble"].get("validation"), "efficiency": cost or None,
            "agreement": (learner["ensemble"].get("agreement") or {}).get("test"),
        }
        for learner in measured
    )  # fmt: skip
    together = f"{len(members)} together" if len(members) > 1 else members[0].model
    return Arm(name, ENSEMBLE, together, (), None, learners, arm.split, arm.teachers)


def _validation_as_test(learner: Learner) -> Learner:
    moved = {**learner, "test": learner.get("validation")}
    for part in ("ensemble", "against_baseline"):
        if learner.get(part):
            moved[part] = {**learner[part], "test": learner[part].get("validation")}
    if agreement := (learner.get("ensemble") or {}).get("agreement"):
        moved["ensemble"]["agreement"] = {"test": agreement.get("validation")}
    return moved


def _teacher_names(teacher: Any, known: Mapping[str, object]) -> tuple[str, ...]:
    """The teachers of a learner: a list of names; results of earlier versions hold one string (`a`, or `a, b`)."""
    if not isinstance(teacher, str):
        return tuple(teacher or ())
    parts = tuple(teacher.split(", "))
    return parts if teacher not in known and all(part in known for part in parts) else (teacher,)


def _confusion_counts(matrix: Sequence[Sequence[int]], classes: int) -> Iterator[tuple[int, int, int]]:
    """(true class, predicted class, images) of a matrix, or of the sparse list written for many classes."""
    if classes > MAX_CLASSES_OF_MATRIX:
        yield from ((true, predicted, count) for true, predicted, count in matrix)
        return
    for true, row in enumerate(matrix):
        yield from ((true, predicted, count) for predicted, count in enumerate(row) if count)


def _at_chance(evaluation: Mapping[str, Any]) -> bool:
    classes, n, top1 = len(evaluation.get("per_class") or ()), evaluation.get("n"), evaluation.get("top1")
    if classes < 2 or not n or top1 is None:
        return False
    balanced = evaluation.get("balanced_accuracy")
    one_class_for_all = balanced is not None and balanced <= 1 / classes + 1e-9
    return one_class_for_all or statistics.binomial_tail(round(top1 * n), n, 1 / classes) > SIGNIFICANCE

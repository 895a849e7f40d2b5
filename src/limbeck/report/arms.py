"""The learners of a result, gathered by arm, with each arm's standing towards its teacher and baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.evaluation import comparison

from . import statistics

Learner = Mapping[str, Any]
"""One entry of `result["arms"]`: one model trained with one seed."""


@dataclass(frozen=True)
class Arm:
    """The learners that differ in nothing but their seed."""

    name: str
    role: str
    model: str
    teachers: tuple[str, ...]
    baseline: str | None
    learners: tuple[Learner, ...]
    split: str = "test"

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
    def failed(self) -> tuple[Learner, ...]:
        """The learners that ended early because a number was not finite."""
        return tuple(learner for learner in self.learners if learner.get("failure"))


def judged_split(result: Mapping[str, Any]) -> str:
    """The split that accuracies are of: `test`, or `validation` where a run of trials left the test split unread."""
    evaluation = (result.get("recipe") or {}).get("evaluation") or {}
    return "test" if evaluation.get("test", True) else "validation"


def arms_of(result: Mapping[str, Any]) -> list[Arm]:
    """Teachers first, then students, each in the order of the result.

    Where the test split was left unread, what is measured on validation stands in its place.
    """
    split = judged_split(result)
    gathered: dict[str, list[Learner]] = {}
    for learner in result["arms"]:
        judged = learner if split == "test" else {**learner, "test": learner.get("validation")}
        gathered.setdefault(learner["arm"], []).append(judged)
    arms = [
        Arm(
            name=name,
            role=learners[0]["role"],
            model=str(learners[0].get("model") or "–"),
            teachers=_names(learners[0].get("teacher")),
            baseline=learners[0].get("baseline"),
            learners=tuple(learners),
            split=split,
        )
        for name, learners in gathered.items()
    ]
    return sorted(arms, key=lambda arm: arm.role != "teacher")


def _names(teacher: Any) -> tuple[str, ...]:
    if teacher is None:
        return ()
    if isinstance(teacher, str):
        return (teacher,)
    return tuple(teacher)  # a weighted list of teachers: a list of names, or names to weights


@dataclass(frozen=True)
class Standing:
    """An arm beside its teacher and its baseline, on the test split; empty or None where there is none.

    teacher: the arm compared with; of several teachers the best.
    retention: percent, one value a seed. gap: points. gain: points, paired by seed.
    compression: how many times fewer parameters than the teacher. speed: how many times faster for one image.
    transfer: where the baseline has another teacher, the percentage of the better teacher's gain over it that
    reaches the student, from means over seeds.
    """

    teacher: Arm | None
    baseline: Arm | None
    retention: Sequence[float]
    gap: Sequence[float]
    gain: statistics.Interval | None
    compression: float | None
    speed: float | None
    transfer: float | None


def standing(arm: Arm, arms: Sequence[Arm]) -> Standing:
    """Where `arm` stands among `arms`. A teacher of another seed, or trained once, is taken by its mean."""
    known = {other.name: other for other in arms}
    own = arm.of_seed("test", "top1", 100)
    measured = [known[name] for name in arm.teachers if name in known and known[name].values("test", "top1")]
    teacher = max(measured, key=lambda other: other.average("test", "top1") or 0.0, default=None)
    retention: list[float] = []
    gaps: list[float] = []
    compression = speed = None
    if teacher is not None:
        theirs = teacher.of_seed("test", "top1", 100)
        typical = statistics.mean(list(theirs.values()))
        pairs = [(value, theirs.get(seed, typical)) for seed, value in own.items()]
        retention = [100 * comparison.retention(*pair) for pair in pairs]
        gaps = [comparison.gap(*pair) for pair in pairs]
        compression = _ratio(teacher, arm, "parameters")
        speed = _ratio(teacher, arm, "image_ms_median")
    baseline = known.get(arm.baseline) if arm.baseline and arm.baseline != arm.name else None
    gain = None
    if baseline is not None:
        plain = baseline.of_seed("test", "top1", 100)
        gains = [comparison.gain(own[seed], plain[seed]) for seed in own if seed in plain]
        gain = statistics.paired_interval(gains) if gains else None
    transfer = _transfer(arm, baseline, teacher, arms)
    return Standing(teacher, baseline, retention, gaps, gain, compression, speed, transfer)


def _transfer(arm: Arm, baseline: Arm | None, teacher: Arm | None, arms: Sequence[Arm]) -> float | None:
    if baseline is None or teacher is None or not baseline.teachers or baseline.teachers == arm.teachers:
        return None
    others = [other for other in arms if other.name in baseline.teachers and other.values("test", "top1")]
    means = [other.average("test", "top1", 100) for other in (arm, baseline, teacher, *others[:1])]
    if len(others) != 1 or None in means:
        return None
    own, plain, better, usual = (value for value in means if value is not None)
    share = 100 * comparison.knowledge_transfer_efficiency(own - plain, better - usual)
    return share if math.isfinite(share) else None


def _ratio(teacher: Arm, student: Arm, metric: str) -> float | None:
    large, small = teacher.average("efficiency", metric), student.average("efficiency", metric)
    ratio = math.nan if large is None or small is None else comparison.compression_ratio(large, small)
    return ratio if math.isfinite(ratio) else None


def efficiency_scores(arm: Arm) -> list[float]:
    """Accuracy in percent / (MB x milliseconds per batch), one value a seed."""
    accuracy = arm.of_seed("test", "top1", 100)
    size, time = arm.of_seed("efficiency", "megabytes"), arm.of_seed("efficiency", "batch_ms_median")
    seeds = [seed for seed in accuracy if seed in size and seed in time]
    scores = [comparison.efficiency_score(accuracy[seed], size[seed], time[seed]) for seed in seeds]
    return [score for score in scores if math.isfinite(score)]

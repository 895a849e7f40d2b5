"""Each arm compared with its teacher and its baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from limbeck.evaluation import comparison as metrics

from . import statistics
from .arms import Arm, teacher_of

MIN_SEEDS = 3
"""With two seeds the 95 % confidence interval reaches 12.7 standard errors to each side: too wide to be useful."""


@dataclass(frozen=True)
class Comparison:
    """An arm compared with its teacher and its baseline on the reported split; empty or None if there is none.

    teacher: the teacher, or the ensemble of several teachers.
    retention: percent, one value per seed; empty if the teacher is at chance, where it has no meaning. gap: points.
    gains: points, one value for each seed that both have. gain: their mean, without bounds for fewer than three seeds.
    over_images: by seed, the bounds of the
    gain over images drawn like those of the split, in points.
    compression: the teacher's parameters / the arm's. speed: the teacher's latency for one image / the arm's.
    transfer: if the baseline has another teacher, the percentage of the better teacher's advantage that
    reaches the student, from means over seeds.
    """

    teacher: Arm | None
    baseline: Arm | None
    retention: Sequence[float]
    gap: Sequence[float]
    gains: Sequence[float]
    gain: statistics.Interval | None
    over_images: Mapping[int, tuple[float, float]]
    compression: float | None
    speed: float | None
    transfer: float | None


def compare(arm: Arm, arms: Sequence[Arm]) -> Comparison:
    """Compare `arm` with its teacher and baseline among `arms`.

    A seed without a teacher of its own seed is compared with the mean of the teachers.
    """
    by_name = {other.name: other for other in arms}
    accuracy = arm.by_seed("test", "top1", 100)
    teacher = teacher_of(arm, arms)
    retention: list[float] = []
    gaps: list[float] = []
    compression = speed = None
    if teacher is not None:
        of_teacher = teacher.by_seed("test", "top1", 100)
        mean = statistics.mean(list(of_teacher.values()))
        pairs = [(value, of_teacher.get(seed, mean)) for seed, value in accuracy.items()]
        retention = [] if teacher.at_chance else [100 * metrics.retention(*pair) for pair in pairs]
        gaps = [metrics.gap(*pair) for pair in pairs]
        compression = _ratio(teacher, arm, "parameters")
        speed = _ratio(teacher, arm, "image_ms_median")
    baseline = by_name.get(arm.baseline) if arm.baseline and arm.baseline != arm.name else None
    gains = _paired(accuracy, baseline.by_seed("test", "top1", 100)) if baseline is not None else []
    gain = _interval(gains, statistics.mean(gains)) if gains else None
    transfer = _transfer(arm, baseline, teacher, arms)
    return Comparison(teacher, baseline, retention, gaps, gains, gain, _over_images(arm), compression, speed, transfer)


def change(arm: Arm, other: Arm) -> statistics.Interval:
    """Accuracy of one arm minus that of another, in points, paired by seed.

    With fewer than three common seeds it is the difference of the means over all seeds of each, without bounds.
    """
    own, theirs = arm.by_seed("test", "top1", 100), other.by_seed("test", "top1", 100)
    means = [statistics.mean(list(values.values())) for values in (own, theirs)]
    return _interval(_paired(own, theirs), means[0] - means[1])


def _paired(own: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    return [metrics.gain(own[seed], theirs[seed]) for seed in own if seed in theirs]


def _interval(differences: Sequence[float], mean: float) -> statistics.Interval:
    """The interval of paired differences; of too few of them only their number, and the mean as given."""
    if len(differences) >= MIN_SEEDS:
        return statistics.paired_interval(differences)
    return statistics.Interval(mean, None, None, len(differences))


def _over_images(arm: Arm) -> dict[int, tuple[float, float]]:
    bounds = {learner["seed"]: (learner.get("against_baseline") or {}).get("test") for learner in arm.learners}
    return {seed: (100 * found["low"], 100 * found["high"]) for seed, found in bounds.items() if found}


def _transfer(arm: Arm, baseline: Arm | None, teacher: Arm | None, arms: Sequence[Arm]) -> float | None:
    if baseline is None or teacher is None or not baseline.teachers or baseline.teachers == arm.teachers:
        return None
    teacher_of_baseline = teacher_of(baseline, arms)
    if teacher_of_baseline is None:
        return None
    means = [other.average("test", "top1", 100) for other in (arm, baseline, teacher, teacher_of_baseline)]
    if None in means:
        return None
    student, plain, better, usual = (value for value in means if value is not None)
    share = 100 * metrics.knowledge_transfer_efficiency(student - plain, better - usual)
    return share if math.isfinite(share) else None


def _ratio(teacher: Arm, student: Arm, metric: str) -> float | None:
    large, small = teacher.average("efficiency", metric), student.average("efficiency", metric)
    ratio = math.nan if large is None or small is None else metrics.compression_ratio(large, small)
    return ratio if math.isfinite(ratio) else None


def efficiency_scores(arm: Arm) -> list[float]:
    """Accuracy in percent / (MB × milliseconds per batch), one value per seed."""
    accuracy = arm.by_seed("test", "top1", 100)
    size, time = arm.by_seed("efficiency", "megabytes"), arm.by_seed("efficiency", "batch_ms_median")
    seeds = [seed for seed in accuracy if seed in size and seed in time]
    scores = [metrics.efficiency_score(accuracy[seed], size[seed], time[seed]) for seed in seeds]
    return [score for score in scores if math.isfinite(score)]

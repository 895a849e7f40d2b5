"""Each arm beside its teacher and its baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from limbeck.evaluation import comparison

from . import statistics
from .arms import Arm
from .ensembles import reference_of

FEWEST_SEEDS = 3
"""Two seeds have an interval on paper: 12.7 standard errors to each side, which tells nobody anything."""


@dataclass(frozen=True)
class Standing:
    """An arm beside its teacher and its baseline, on the test split; empty or None where there is none.

    teacher: the arm compared with; of several teachers the ensemble.
    retention: percent, one value a seed; none beside a teacher at chance, where it means nothing. gap: points.
    gain: points, paired by seed; without bounds where there are fewer than three. over_images: by seed, the bounds of
    the gain over images like those of the split, in points.
    compression: how many times fewer parameters than the teacher. speed: how many times faster for one image.
    transfer: where the baseline has another teacher, the percentage of the better teacher's gain over it that
    reaches the student, from means over seeds.
    """

    teacher: Arm | None
    baseline: Arm | None
    retention: Sequence[float]
    gap: Sequence[float]
    gain: statistics.Interval | None
    over_images: Mapping[int, tuple[float, float]]
    compression: float | None
    speed: float | None
    transfer: float | None


def standing(arm: Arm, arms: Sequence[Arm]) -> Standing:
    """Where `arm` stands among `arms`. A teacher of another seed, or trained once, is taken by its mean."""
    known = {other.name: other for other in arms}
    own = arm.of_seed("test", "top1", 100)
    teacher = reference_of(arm, arms)
    retention: list[float] = []
    gaps: list[float] = []
    compression = speed = None
    if teacher is not None:
        theirs = teacher.of_seed("test", "top1", 100)
        typical = statistics.mean(list(theirs.values()))
        pairs = [(value, theirs.get(seed, typical)) for seed, value in own.items()]
        retention = [] if teacher.at_chance else [100 * comparison.retention(*pair) for pair in pairs]
        gaps = [comparison.gap(*pair) for pair in pairs]
        compression = _ratio(teacher, arm, "parameters")
        speed = _ratio(teacher, arm, "image_ms_median")
    baseline = known.get(arm.baseline) if arm.baseline and arm.baseline != arm.name else None
    gain = None
    if baseline is not None:
        plain = baseline.of_seed("test", "top1", 100)
        gains = [comparison.gain(own[seed], plain[seed]) for seed in own if seed in plain]
        if len(gains) >= FEWEST_SEEDS:
            gain = statistics.paired_interval(gains)
        elif gains:
            gain = statistics.Interval(statistics.mean(gains), None, None, len(gains))
    transfer = _transfer(arm, baseline, teacher, arms)
    return Standing(teacher, baseline, retention, gaps, gain, _over_images(arm), compression, speed, transfer)


def _over_images(arm: Arm) -> dict[int, tuple[float, float]]:
    found = {learner["seed"]: (learner.get("against_baseline") or {}).get("test") for learner in arm.learners}
    return {seed: (100 * about["low"], 100 * about["high"]) for seed, about in found.items() if about}


def _transfer(arm: Arm, baseline: Arm | None, teacher: Arm | None, arms: Sequence[Arm]) -> float | None:
    if baseline is None or teacher is None or not baseline.teachers or baseline.teachers == arm.teachers:
        return None
    before = reference_of(baseline, arms)
    if before is None:
        return None
    means = [other.average("test", "top1", 100) for other in (arm, baseline, teacher, before)]
    if None in means:
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

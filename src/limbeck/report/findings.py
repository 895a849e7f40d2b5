"""The findings of a run in sentences that claim no more than the results show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from . import statistics
from .arms import ENSEMBLE, FROM_A_FILE, Arm, Learner, agreement_of_members
from .comparisons import MIN_SEEDS, Comparison, compare
from .formatting import cell, format_number, format_signed, format_spread

STANDARD_ERRORS = 3.0
"""Two accuracies differ clearly if they are this many standard errors apart."""


def findings(arms: Sequence[Arm]) -> list[str]:
    """One paragraph of Markdown for each distilled arm; in runs without any, one sentence per arm."""
    distilled = [arm for arm in arms if arm.role != "teacher" and arm.teachers]
    if distilled:
        return [_distilled(arm, compare(arm, arms)) for arm in distilled]
    return [f"{_reached(arm)} Nothing was distilled in this run." for arm in arms]


def failure_line(learner: Learner) -> str:
    """Which learner failed, where, and in which loss term, as plain text."""
    failure = learner["failure"]
    value = {"nan": "not a number", "inf": "infinite", "-inf": "minus infinity"}.get(str(failure.get("value")).lower())
    results = "the tables show its selected epoch" if learner.get("test") else "it is not in the tables"
    return (
        f"{learner['arm']} (seed {learner['seed']}) failed at epoch {failure.get('epoch')}, "
        f"step {failure.get('step')}: loss not finite in term {failure.get('term')}"
        f"{f' ({value})' if value else ''}; {results}"
    )


def _name(arm: Arm) -> str:
    return f"**{cell(arm.name)}**"


def _accuracy(arm: Arm) -> str:
    return format_spread(arm.values("test", "top1", 100), unit=" %")


def _reached(arm: Arm) -> str:
    if not arm.values("test", "top1"):
        return f"{_name(arm)} ({cell(arm.model)}) has no {arm.split} result."
    return f"{_name(arm)} ({cell(arm.model)}) reaches a {arm.split} accuracy of {_accuracy(arm)}."


def _distilled(arm: Arm, comparison: Comparison) -> str:
    if not arm.values("test", "top1"):
        return f"{_reached(arm)}{' All its seeds failed.' if len(arm.failed) == len(arm.learners) else ''}"
    sentences = [_retained(arm, comparison) if comparison.teacher else _reached(arm)]
    sentences += _at_chance(arm, comparison)
    if comparison.teacher:
        sentences += _costs(arm, comparison.teacher, comparison)
    if not comparison.baseline:
        sentences.append("It has no baseline, so the gain from distillation is unknown.")
    elif not comparison.gain:
        sentences.append(f"{_name(comparison.baseline)} has no result, so the gain from distillation is unknown.")
    else:
        sentences.append(_gain(arm, comparison.baseline, comparison, comparison.gain))
    return " ".join(sentences)


def _retained(arm: Arm, comparison: Comparison) -> str:
    teacher = comparison.teacher
    assert teacher is not None
    ensemble = teacher.role == ENSEMBLE
    whose = f"{len(arm.teachers)} teachers'" if ensemble else "teacher's"
    retention = [value for value in comparison.retention if value == value]
    if not retention or arm.at_chance:
        verb = f"has a {arm.split} accuracy of"
    else:
        verb = f"retains {format_number(statistics.mean(retention), 1)} % of its {whose} {arm.split} accuracy:"
    line = (
        f"{_name(arm)} ({cell(arm.model)}) {verb} {_accuracy(arm)}, "
        f"compared with {_accuracy(teacher)} for {'the ensemble ' if ensemble else ''}{_name(teacher)}."
    )
    return f"{line} The teachers agree with each other on {_agreement(teacher)}." if ensemble else line


def _agreement(ensemble: Arm) -> str:
    values = agreement_of_members(ensemble)
    share = f"{format_number(statistics.mean(values), 1)} %" if values else "an unknown share"
    pairs = " (mean over pairs)" if len(ensemble.members) > 2 else ""
    return f"{share} of the {ensemble.split} images{pairs}"


def _at_chance(arm: Arm, comparison: Comparison) -> list[str]:
    """A warning for models at chance, where retention has no meaning."""
    names = [_name(other) for other in (arm, comparison.teacher) if other is not None and other.at_chance]
    if not names:
        return []
    classes = max(len(learner["test"].get("per_class") or ()) for learner in arm.learners if learner.get("test"))
    subject = f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'}"
    chance = f"chance ({format_number(100 / classes, 1)} % for {classes} classes)"
    return [f"However, {subject} not clearly better than {chance}, so retention has no meaning here."]


def _costs(arm: Arm, teacher: Arm, comparison: Comparison) -> list[str]:
    clauses: list[str] = []
    small, large = arm.average("efficiency", "parameters"), teacher.average("efficiency", "parameters")
    if small is not None and large is not None and comparison.compression:
        ratio = _ratio(comparison.compression, "fewer", "more")
        clauses.append(f"It has {small:,.0f} parameters instead of {large:,.0f} ({ratio})")
    short, long = arm.average("efficiency", "image_ms_median"), teacher.average("efficiency", "image_ms_median")
    if short is not None and long is not None and comparison.speed:
        subject = "and" if clauses else "It"
        ratio = _ratio(comparison.speed, "faster", "slower")
        clauses.append(f"{subject} takes {short:,.2f} ms per image instead of {long:,.2f} ms ({ratio})")
    return [" ".join(clauses) + "."] if clauses else []


def _ratio(ratio: float, smaller: str, larger: str) -> str:
    """The ratio in words; a difference of less than 5 % counts as none."""
    if 0.95 < ratio < 1.05:
        return "about the same"
    return f"{ratio:,.1f} times {smaller}" if ratio > 1 else f"{1 / ratio:,.1f} times {larger}"


def _gain(arm: Arm, baseline: Arm, comparison: Comparison, gain: statistics.Interval) -> str:
    labels_only = baseline.model == arm.model and not baseline.teachers
    against = f"{_name(baseline)}{' (the same student trained on labels only)' if labels_only else ''}"
    if gain.low is None or gain.high is None:
        return (
            f"Compared with {against}, it differs by {format_signed(gain.mean)} points"
            f"{' on average' if gain.n > 1 else ''}, but n = {gain.n} does not show whether other random seeds would "
            f"give the same result; that takes at least {MIN_SEEDS} seeds.{_over_images(arm, comparison)}"
        )
    bounds = f"{format_signed(gain.low)} to {format_signed(gain.high)}, paired over {gain.n} random seeds"
    interval = f"95 % confidence interval {bounds}"
    if gain.includes_zero:
        return (
            f"Compared with {against}, it differs by {format_signed(gain.mean)} points, but the interval includes zero "
            f"({interval}): these runs do not show whether distillation helped."
        )
    if gain.mean > 0:
        return f"Compared with {against}, it gains {format_number(gain.mean)} points ({interval})."
    return f"Compared with {against}, it loses {format_number(-gain.mean)} points ({interval}): distillation hurt."


def _over_images(arm: Arm, comparison: Comparison) -> str:
    """The confidence intervals over images of single pairs of models, for runs with too few seeds."""
    intervals = [
        f"{format_signed(low)} to {format_signed(high)} points with seed {seed}"
        for seed, (low, high) in comparison.over_images.items()
    ]
    if not intervals:
        return ""
    subject = f"the 95 % confidence interval over {arm.split} images is"
    return f" For these models, {subject} {' and '.join(intervals)}."


def pretrained_models(arms: Sequence[Arm]) -> list[str]:
    """A paragraph of Markdown for each model loaded from a file: its training images are unknown."""
    return [
        _pretrained(arm, learner) for arm in arms for learner in arm.learners if learner.get("ended") == FROM_A_FILE
    ]


def _pretrained(arm: Arm, learner: Learner) -> str:
    unknown = (
        f"{_name(arm)} was loaded from a file. Its training images are unknown; they may include images of the "
        "held-out test set."
    )
    train, validation = learner.get("train_sample") or {}, learner.get("validation") or {}
    test = (learner.get("test") or {}) if arm.split == "test" else {}
    if not (_n(validation) and _n(test)):
        return unknown
    measured = [(name, part) for name, part in (("training", train), ("validation", validation), ("test", test))]
    figures = ", ".join(f"{name} {_percent(part)}" for name, part in measured if _n(part))
    if _clearly_above(validation, test) and not _clearly_above(train, validation):
        return (
            f"{unknown} Its accuracies ({figures}) are typical of a model that was trained on the whole training "
            "split: its training images probably included those that are held out here for validation. Its validation "
            "accuracy is then too high; use its test accuracy for comparisons."
        )
    if _clearly_above(test, validation):
        return (
            f"{unknown} It is more accurate on test images than on validation images ({figures}), as a model trained "
            "on the test images would be. Do not rely on its test accuracy, or on the retention of its students, "
            "unless you know that it was not."
        )
    if _n(train):
        return f"{unknown} Its accuracies ({figures}) show no sign of leakage, which is no proof."
    return unknown


def _n(evaluation: Mapping[str, Any]) -> int:
    return int(evaluation.get("n") or 0) if evaluation.get("top1") is not None else 0


def _percent(evaluation: Mapping[str, Any]) -> str:
    return f"{format_number(100 * evaluation['top1'])} % of {_n(evaluation):,}"


def _clearly_above(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the first of two accuracies is higher by more than sampling of images explains (two-proportion test)."""
    if not (_n(one) and _n(other)):
        return False
    pooled = (one["top1"] * _n(one) + other["top1"] * _n(other)) / (_n(one) + _n(other))
    error = math.sqrt(pooled * (1 - pooled) * (1 / _n(one) + 1 / _n(other)))
    return one["top1"] - other["top1"] > STANDARD_ERRORS * error

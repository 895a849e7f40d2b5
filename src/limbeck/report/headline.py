"""The findings in sentences that claim no more than the runs show."""

from __future__ import annotations

from collections.abc import Sequence

from . import statistics
from .arms import Arm, Learner, Standing, standing
from .statistics import format_number, format_signed, format_spread
from .table import cell


def findings(arms: Sequence[Arm]) -> list[str]:
    """One paragraph of Markdown for each distilled arm; for runs without one, a sentence an arm."""
    distilled = [arm for arm in arms if arm.role != "teacher" and arm.teachers]
    if distilled:
        return [_distilled(arm, standing(arm, arms)) for arm in distilled]
    return [f"{_reaches(arm)} Nothing was distilled in this run." for arm in arms]


def failure_line(learner: Learner) -> str:
    """Which learner ended where, and on which term; plain text."""
    failure = learner["failure"]
    value = {"nan": "not a number", "inf": "infinite", "-inf": "minus infinity"}.get(str(failure.get("value")).lower())
    kept = "its chosen epoch before that is in the tables" if learner.get("test") else "it is not in the tables"
    return (
        f"learner {learner['arm']} (seed {learner['seed']}) ended at epoch {failure.get('epoch')}, "
        f"step {failure.get('step')}: loss not finite in term {failure.get('term')}"
        f"{f' ({value})' if value else ''}; {kept}"
    )


def _name(arm: Arm) -> str:
    return f"**{cell(arm.name)}**"


def _reaches(arm: Arm) -> str:
    accuracies = arm.values("test", "top1", 100)
    if not accuracies:
        return f"{_name(arm)} ({cell(arm.model)}) has no {arm.split} result."
    return f"{_name(arm)} ({cell(arm.model)}) reaches a {arm.split} accuracy of {format_spread(accuracies)} percent."


def _distilled(arm: Arm, place: Standing) -> str:
    accuracies = arm.values("test", "top1", 100)
    if not accuracies:
        return f"{_reaches(arm)}{' Every run of it failed.' if len(arm.failed) == len(arm.learners) else ''}"
    sentences = [_kept(arm, place) if place.teacher else _reaches(arm)]
    if place.teacher:
        sentences += _costs(arm, place.teacher, place)
    sentences += [_gained(arm, place.baseline, place.gain)] if place.baseline and place.gain else []
    if not place.baseline:
        sentences.append("It stands beside no baseline, so what distillation adds is not known.")
    elif not place.gain:
        sentences.append(f"{_name(place.baseline)} has no result to compare it with.")
    return " ".join(sentences)


def _kept(arm: Arm, place: Standing) -> str:
    assert place.teacher is not None
    theirs = format_spread(place.teacher.values("test", "top1", 100))
    own = format_spread(arm.values("test", "top1", 100))
    which = "best teacher's" if len(arm.teachers) > 1 else "teacher's"
    kept = [value for value in place.retention if value == value]
    share = (
        f"keeps {format_number(statistics.mean(kept), 1)} % of its {which} {arm.split} accuracy"
        if kept
        else "is measured"
    )
    return f"{_name(arm)} ({cell(arm.model)}) {share}: {own} percent against {theirs} of {_name(place.teacher)}."


def _costs(arm: Arm, teacher: Arm, place: Standing) -> list[str]:
    said: list[str] = []
    own, theirs = arm.average("efficiency", "parameters"), teacher.average("efficiency", "parameters")
    if own is not None and theirs is not None and place.compression:
        times = _times(place.compression, "fewer", "more")
        said.append(f"It has {own:,.0f} parameters instead of {theirs:,.0f} ({times})")
    own, theirs = (
        arm.average("efficiency", "image_ms_median"),
        teacher.average("efficiency", "image_ms_median"),
    )
    if own is not None and theirs is not None and place.speed:
        subject = "and" if said else "It"
        times = _times(place.speed, "faster", "slower")
        said.append(f"{subject} takes {own:,.2f} ms for an image instead of {theirs:,.2f} ({times})")
    return [" ".join(said) + "."] if said else []


def _times(ratio: float, smaller: str, larger: str) -> str:
    """The ratio in words; within 5 % of each other is no difference worth a word."""
    if 0.95 < ratio < 1.05:
        return "about the same"
    return f"{ratio:,.1f} times {smaller}" if ratio > 1 else f"{1 / ratio:,.1f} times {larger}"


def _gained(arm: Arm, baseline: Arm, gain: statistics.Interval) -> str:
    plain = baseline.model == arm.model and not baseline.teachers
    against = f"{_name(baseline)}{' (the same student on labels alone)' if plain else ''}"
    if gain.low is None or gain.high is None:
        return (
            f"Its one run differs from that of {against} by {format_signed(gain.mean)} points; n = 1 does "
            "not show whether another seed would say the same."
        )
    bounds = f"{format_signed(gain.low)} to {format_signed(gain.high)}, paired over {gain.n} seeds"
    if gain.includes_zero:
        return (
            f"It differs from {against} by {format_signed(gain.mean)} points, but the 95 % interval "
            f"({bounds}) includes zero: these runs do not show whether distillation helped."
        )
    if gain.mean > 0:
        return f"Over {against} it gains {format_number(gain.mean)} points (95 % interval {bounds})."
    lost = format_number(-gain.mean)
    return f"It falls {lost} points below {against} (95 % interval {bounds}): distillation hurt."

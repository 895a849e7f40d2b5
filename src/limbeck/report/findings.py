"""The findings in sentences that claim no more than the runs show."""

from __future__ import annotations

from collections.abc import Sequence

from . import statistics
from .arms import Arm, Learner
from .comparisons import FEWEST_SEEDS, Standing, standing
from .ensembles import ENSEMBLE, agreement_of_members
from .formatting import cell
from .statistics import format_number, format_signed, format_spread


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
    sentences = [_retained(arm, place) if place.teacher else _reaches(arm)]
    sentences += _at_chance(arm, place)
    if place.teacher:
        sentences += _costs(arm, place.teacher, place)
    sentences += [_gained(arm, place.baseline, place)] if place.baseline and place.gain else []
    if not place.baseline:
        sentences.append("It stands beside no baseline, so what distillation adds is not known.")
    elif not place.gain:
        sentences.append(f"{_name(place.baseline)} has no result to compare it with.")
    return " ".join(sentences)


def _retained(arm: Arm, place: Standing) -> str:
    assert place.teacher is not None
    theirs = format_spread(place.teacher.values("test", "top1", 100))
    own = format_spread(arm.values("test", "top1", 100))
    several = place.teacher.role == ENSEMBLE
    which = f"{len(arm.teachers)} teachers'" if several else "teacher's"
    retention = [value for value in place.retention if value == value]
    if not retention or arm.at_chance:
        share = f"has a {arm.split} accuracy of"
    else:
        share = f"retains {format_number(statistics.mean(retention), 1)} % of its {which} {arm.split} accuracy:"
    together = f", who answer together and agree with each other on {_agreement(place.teacher)}" if several else ""
    line = f"{_name(arm)} ({cell(arm.model)}) {share} {own} percent against {theirs} of {_name(place.teacher)}"
    return f"{line}{together}."


def _agreement(ensemble: Arm) -> str:
    found = agreement_of_members(ensemble)
    share = f"{format_number(statistics.mean(found), 1)} %" if found else "an unknown share"
    pairs = " (mean over pairs)" if len(ensemble.members) > 2 else ""
    return f"{share} of the {ensemble.split} images{pairs}"


def _at_chance(arm: Arm, place: Standing) -> list[str]:
    """A student that retains its teacher's ignorance has retained nothing."""
    lost = [_name(other) for other in (arm, place.teacher) if other is not None and other.at_chance]
    if not lost:
        return []
    classes = max(len(learner["test"].get("per_class") or ()) for learner in arm.learners if learner.get("test"))
    are = f"{' and '.join(lost)} {'are' if len(lost) > 1 else 'is'} not clearly better than guessing"
    return [f"But {are} ({format_number(100 / classes, 1)} % of {classes} classes): retention says nothing here."]


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


def _gained(arm: Arm, baseline: Arm, place: Standing) -> str:
    gain = place.gain
    assert gain is not None
    plain = baseline.model == arm.model and not baseline.teachers
    against = f"{_name(baseline)}{' (the same student trained on labels only)' if plain else ''}"
    if gain.low is None or gain.high is None:
        runs = "Its one run differs from that" if gain.n == 1 else f"Its {gain.n} runs differ from those"
        return (
            f"{runs} of {against} by {format_signed(gain.mean)} points{' on average' if gain.n > 1 else ''}; "
            f"n = {gain.n} does not show whether another seed would say the same, which takes {FEWEST_SEEDS} seeds "
            f"at least.{_over_images(arm, place)}"
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


def _over_images(arm: Arm, place: Standing) -> str:
    """What one pair of models shows of other images: less than seeds would, and better than nothing."""
    found = [
        f"{format_signed(low)} to {format_signed(high)} points with seed {seed}"
        for seed, (low, high) in place.over_images.items()
    ]
    if not found:
        return ""
    interval = f"the 95 % interval over images like those of the {arm.split} split is"
    return f" For these models alone, {interval} {' and '.join(found)}."

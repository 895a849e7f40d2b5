"""What a run has shown, in two plain sentences, and what must be known before its numbers are quoted."""

from __future__ import annotations

from collections.abc import Sequence

from limbeck.report.arms import Arm
from limbeck.report.comparisons import MIN_SEEDS, Comparison, compare
from limbeck.report.findings import failure_line
from limbeck.report.formatting import SETS, format_number, format_signed
from limbeck.report.run_data import RunRecord
from limbeck.report.statistics import Interval, mean, standard_deviation

from .markup import escape


def headline(record: RunRecord) -> list[str]:
    """Two sentences as HTML about the distilled student that is best on validation; one if nothing was distilled."""
    arms = record.arms
    distilled = [arm for arm in arms if arm.role != "teacher" and arm.teachers and arm.values("test", "top1")]
    if not distilled:
        measured = [arm for arm in arms if arm.values("test", "top1")]
        if not measured:
            return ["Nothing has been measured yet."]
        best = max(measured, key=_on_validation)
        return [f"{_name(best)} reaches {_accuracy(best)} on the {SETS[best.split]}; nothing was distilled."]
    arm = max(distilled, key=_on_validation)
    comparison = compare(arm, arms)
    return [_reached(arm, comparison, len(distilled)), _gained(arm, comparison)]


def warnings(record: RunRecord) -> list[str]:
    """Plain text about a run that is not finished, failed, has one seed or damaged files; empty for none of them."""
    lines = [line] if (line := unfinished(record)) else []
    lines += [f"Failed: {failure_line(learner)}" for arm in record.arms for learner in arm.failed]
    lines += [line] if (line := _single_seeds(record.arms)) else []
    return [*lines, *left_out(record)]


def left_out(record: RunRecord) -> list[str]:
    """What is missing or damaged and therefore not shown, one line each."""
    return [f"Left out: {problem}" for problem in record.problems]


def unfinished(record: RunRecord) -> str:
    """That a run or sweep goes on or has stopped, and how far it is; empty for a finished one."""
    what = "sweep" if record.sweep else "run"
    done, planned = sum(one.state in ("finished", "failed") for one in record.progress), len(record.progress)
    measured = f" {done} of {planned} learners are measured." if planned and not record.sweep else ""
    if record.state == "running":
        return f"This {what} goes on.{measured} What follows is what there is so far."
    if record.state == "stopped":
        return (
            f"This {what} is not finished, and no process is working on it.{measured} To continue, repeat its command."
        )
    return f"This {what} is not finished.{measured}" if record.state == "unknown" else ""


def _single_seeds(arms: Sequence[Arm]) -> str:
    """Which arms have a single seed; arms from files always do."""
    counts = {arm.name: len(arm.values("test", "top1")) for arm in arms if arm.role != "teacher"}
    single = [name for name, count in counts.items() if count == 1]
    if not single:
        return ""
    which = "every student" if len(single) == len(counts) else ", ".join(single)
    return (
        f"n = 1: {which} has results of a single seed. One seed shows neither spread nor significance; with another, "
        "the order of the arms may differ."
    )


def _reached(arm: Arm, comparison: Comparison, students: int) -> str:
    subject = "The student" if students == 1 else "The student that is best on validation,"
    comma = "" if students == 1 else ","
    text = f"{subject} {_name(arm)}{comma} reaches {_accuracy(arm)} on the {SETS[arm.split]}"
    teacher = comparison.teacher
    if teacher is None or not comparison.gap:
        return f"{text}."
    gap = mean(comparison.gap)
    side = "below" if gap >= 0 else "above"
    whose = "the ensemble" if len(arm.teachers) > 1 else "its teacher"
    text += f", {format_number(abs(gap))} points {side} {whose} {_name(teacher)}"
    costs = []
    if comparison.compression and comparison.compression > 1.05:
        costs.append(f"{comparison.compression:,.1f} times fewer parameters")
    if comparison.speed and comparison.speed > 1.05:
        costs.append(f"{comparison.speed:,.1f} times the speed")
    return f"{text}, with {' and '.join(costs)}." if costs else f"{text}."


def _gained(arm: Arm, comparison: Comparison) -> str:
    baseline, gain = comparison.baseline, comparison.gain
    if baseline is None or gain is None:
        return "There is no baseline, so this does not show what distillation is worth."
    labels_only = ", the same student trained on labels only" if _is_labels_only(arm, baseline) else ""
    against = f"{_name(baseline)}{labels_only}"
    if gain.low is None or gain.high is None:
        return (
            f"Compared with {against}, it differs by {format_signed(gain.mean)} points, n = {gain.n}; to know whether "
            f"other random seeds agree takes at least {MIN_SEEDS} of them{_over_images(comparison)}."
        )
    interval = f"95 % confidence interval {_bounds(gain)}, {gain.n} random seeds"
    if gain.includes_zero:
        return (
            f"Compared with {against}, it differs by {format_signed(gain.mean)} points, but the interval includes zero "
            f"({interval}): whether it is better is open."
        )
    verb = "more" if gain.mean > 0 else "less"
    return f"That is {format_number(abs(gain.mean))} points {verb} than {against} ({interval})."


def _is_labels_only(arm: Arm, baseline: Arm) -> bool:
    return baseline.model == arm.model and not baseline.teachers


def _over_images(comparison: Comparison) -> str:
    if len(comparison.over_images) != 1:
        return ""
    ((low, high),) = comparison.over_images.values()
    return f" (for these two models, the 95 % interval over images is {format_signed(low)} to {format_signed(high)})"


def _bounds(gain: Interval) -> str:
    assert gain.low is not None and gain.high is not None
    return f"{format_signed(gain.low)} to {format_signed(gain.high)}"


def _accuracy(arm: Arm) -> str:
    values = arm.values("test", "top1", 100)
    spread = standard_deviation(values)
    return f"{format_number(mean(values))}{'' if spread is None else f' ± {spread:.2f}'} %"


def _on_validation(arm: Arm) -> float:
    value = arm.average("validation", "top1")
    return -1.0 if value is None else value


def _name(arm: Arm) -> str:
    return f"<strong>{escape(' '.join(arm.name.split()))}</strong>"

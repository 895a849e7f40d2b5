"""Knowledge-transfer efficiency: how much of a better teacher's advantage reaches the student."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from limbeck.evaluation.comparison import knowledge_transfer_efficiency
from limbeck.report.arms import Arm, teacher_of
from limbeck.report.comparisons import change
from limbeck.report.formatting import few_of
from limbeck.report.options import Options, differing

from .table import Column, Table, Value

MAX_CONFOUNDERS = 4


def transfer_table(arms: Sequence[Arm], options: Mapping[str, Options]) -> Table:
    """Pairs of students of one model and two teachers: gain of the student, gain of the teacher, and their ratio.

    An arm is compared with its baseline, if that has another teacher; otherwise, for each weaker teacher, with the arm
    of the same model that is most like it. options: those of each arm, flat; what else differs in a pair is named.
    """
    columns = (
        Column("arm", "Student"),
        Column("reference", "Compared with"),
        Column("teacher", "Teacher"),
        Column("reference_teacher", "Its teacher"),
        Column("student_gain", "Student gain (points)", "interval"),
        Column("teacher_gain", "Teacher gain (points)", "number"),
        Column("transfer", "Transfer (%)", "number", 1),
        Column("also_differs", "Also differs"),
    )
    distilled = [arm for arm in arms if arm.teachers and arm.values("test", "top1") and teacher_of(arm, arms)]
    rows = [row for arm in distilled for other in _references(arm, distilled, arms, options)
            if (row := _row(arm, other, arms, options))]  # fmt: skip
    note = (
        "Transfer is student gain / teacher gain, from means over seeds. It is meaningful only if nothing else differs."
    )
    return Table("knowledge-transfer", "Knowledge-transfer efficiency", columns, tuple(rows), note)


def _references(arm: Arm, distilled: Sequence[Arm], arms: Sequence[Arm], options: Mapping[str, Options]) -> list[Arm]:
    baseline = [other for other in distilled if other.name == arm.baseline and other.teachers != arm.teachers]
    if baseline:
        return baseline
    by_teacher: dict[tuple[str, ...], list[Arm]] = {}
    for other in distilled:
        same_model = other.role == arm.role and _model(other, options) == _model(arm, options)
        if (
            same_model
            and not _same_teachers(arm, other, options)
            and _teacher_top1(other, arms) < _teacher_top1(arm, arms)
        ):
            by_teacher.setdefault(other.teachers, []).append(other)
    return [min(found, key=lambda one: len(_also(arm, one, options))) for found in by_teacher.values()]


def _row(arm: Arm, other: Arm, arms: Sequence[Arm], options: Mapping[str, Options]) -> tuple[Value, ...] | None:
    teacher_gain = _teacher_top1(arm, arms) - _teacher_top1(other, arms)
    own, of_other = arm.average("test", "top1", 100), other.average("test", "top1", 100)
    if own is None or of_other is None:
        return None
    share = 100 * knowledge_transfer_efficiency(own - of_other, teacher_gain)
    teachers = (", ".join(arm.teachers), ", ".join(other.teachers))
    also = few_of(_also(arm, other, options), MAX_CONFOUNDERS)
    transfer = share if math.isfinite(share) else None
    return (arm.name, other.name, *teachers, change(arm, other), teacher_gain, transfer, also)


def _same_teachers(arm: Arm, other: Arm, options: Mapping[str, Options]) -> bool:
    """Whether the teachers are the same ones, or, over several runs, were trained alike."""
    one, two = ([options.get(name) for name in of.teachers] for of in (arm, other))
    return arm.teachers == other.teachers or (None not in one and one == two)


def _teacher_top1(arm: Arm, arms: Sequence[Arm]) -> float:
    teacher = teacher_of(arm, arms)
    value = teacher.average("test", "top1", 100) if teacher else None
    return math.nan if value is None else value


def _model(arm: Arm, options: Mapping[str, Options]) -> dict[str, object]:
    own = {name: value for name, value in options.get(arm.name, {}).items() if name.partition(".")[0] == "model"}
    return own or {"model": arm.model}


def _also(arm: Arm, other: Arm, options: Mapping[str, Options]) -> list[str]:
    """The options, apart from the teacher, that differ between two arms."""
    names = differing({"one": options.get(arm.name, {}), "two": options.get(other.name, {})})
    return [name for name in names if name.partition(".")[0] != "teacher"]

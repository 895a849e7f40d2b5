"""Single classes: what a student gains and loses against its teacher and baseline, and what it confuses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from limbeck.report.arms import Arm, teacher_of
from limbeck.report.comparisons import compare
from limbeck.report.figures.drawing import Drawing, Missing, best_students, name_part
from limbeck.report.figures.intervals import Z
from limbeck.report.figures.style import (
    FAINT,
    TWO_COLUMNS,
    ArmStyle,
    add_note,
    arm_styles,
    fill,
    name_rows,
    new_figure,
    shorten,
)
from limbeck.report.formatting import format_number, format_signed
from limbeck.report.run_data import RunRecord
from limbeck.report.statistics import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_STUDENTS, MAX_CLASSES, MAX_PAIRS = 2, 24, 15
"""Of more classes, those with the largest gains and losses are shown, as many of each."""


class Difference(NamedTuple):
    """Accuracy of a student minus that of another model on one class, in points. error: a standard error over images,
    as if the two were independent; on the same images it is smaller."""

    points: float
    error: float


def draw_per_class(record: RunRecord) -> list[Drawing] | Missing:
    """For the best students: the difference to the teacher and to the baseline, class by class."""

    def has_classes(arm: Arm) -> bool:
        return bool(class_accuracies(arm)) and any(class_accuracies(other) for other in _references(record, arm))

    drawings: list[Drawing] = []
    for arm in best_students(record, MAX_STUDENTS, has_classes):
        references = [other for other in _references(record, arm) if class_accuracies(other)]
        differences = [differences_by_class(arm, other) for other in references]
        told: list[str] = []
        for other, of_classes in zip(references, differences, strict=True):
            order = sorted(of_classes, key=lambda c: of_classes[c].points)
            worst, best = (
                f"{record.class_name(c)} {format_signed(of_classes[c].points, 1)}" for c in (order[0], order[-1])
            )
            told.append(f"against {other.name} from {worst} to {best} points")
        alt = f"Accuracy of {arm.name} on each class, {'; '.join(told)}."
        drawings.append(
            Drawing(
                f"per-class-{name_part(arm.name)}",
                f"Gain and loss of {arm.name} by class",
                alt,
                lambda of=(arm, references, differences): _per_class(record, *of),
            )
        )
    return drawings or Missing("no student was measured class by class beside a teacher or baseline")


def _references(record: RunRecord, arm: Arm) -> list[Arm]:
    """The teacher, or the ensemble of teachers, and the baseline of an arm, as far as there are."""
    found = (teacher_of(arm, record.arms), compare(arm, record.arms).baseline)
    return [other for other in found if other is not None]


def class_accuracies(arm: Arm) -> dict[int, float]:
    """The mean accuracy over seeds of each class that has images, in percent."""
    of_seeds = [(learner.get("test") or {}).get("per_class") or () for learner in arm.learners]
    classes = max(map(len, of_seeds), default=0)
    found: dict[int, float] = {}
    for number in range(classes):
        values = [row[number] for row in of_seeds if len(row) == classes and row[number] is not None]
        if values:
            found[number] = 100 * mean(values)
    return found


def differences_by_class(arm: Arm, other: Arm) -> dict[int, Difference]:
    """The difference of two arms on each class that both were measured on."""
    own, theirs = class_accuracies(arm), class_accuracies(other)
    images = sum((row.get("test") or {}).get("n") or 0 for row in arm.learners) / max(1, len(arm.learners))
    per_class = max(1.0, images / max(1, len(own)))
    return {
        number: Difference(
            own[number] - theirs[number],
            math.sqrt(sum(value * (100 - value) / per_class for value in (own[number], theirs[number]))),
        )
        for number in own
        if number in theirs
    }


def _per_class(
    record: RunRecord, arm: Arm, references: Sequence[Arm], differences: Sequence[Mapping[int, Difference]]
) -> Figure:
    styles = arm_styles([*record.arms, *(other for other in references if other not in record.arms)])
    everywhere = list(differences[-1])
    order = sorted(everywhere, key=lambda c: (-differences[-1][c].points, c))  # by the gain over the baseline, if any
    half = MAX_CLASSES // 2
    shown = order if len(order) <= MAX_CLASSES else [*order[:half], *order[-half:]]
    figure = new_figure(TWO_COLUMNS if len(references) > 1 else 4.2, 0.95 + 0.165 * len(shown))
    panels: Sequence[Axes] = figure.subplots(1, len(references), squeeze=False, sharey=True)[0]
    for panel, other, of_classes in zip(panels, references, differences, strict=True):
        panel.axvline(0, color="#444444", linewidth=0.8, zorder=1)
        for place, number in enumerate(shown):
            if number not in of_classes:
                continue
            points, error = of_classes[number]
            style, reach = styles[arm.name], Z * error
            panel.plot([points - reach, points + reach], [place, place], color=style.colour, alpha=0.35, linewidth=1)
            panel.plot([0, points], [place, place], color=style.colour, linewidth=1.6, zorder=2)
            panel.plot([points], [place], style.marker, color=style.colour, markersize=4, zorder=3)
        if len(shown) < len(order):
            panel.axhline(half - 0.5, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        panel.set_title(f"{shorten(arm.name, 16)} against {shorten(other.name, 20)} (points)")
        panel.grid(visible=False, axis="y")
    name_rows(panels[0], [record.class_name(number) for number in shown])
    for panel in panels[1:]:
        panel.tick_params(labelleft=False)
    left = len(order) - len(shown)
    add_note(
        figure,
        [
            f"accuracy on the {record.split} set, class by class",
            "pale lines: 95 % over images, as if the two models were independent",
            f"the {half} classes above and below the dashed line, {left} between them left out" if left else "",
        ],
    )
    return figure


def draw_confusions(record: RunRecord) -> list[Drawing] | Missing:
    """The most frequent confusions of the best students, beside how often teacher and baseline confuse the same."""
    drawings: list[Drawing] = []
    taught = best_students(record, MAX_STUDENTS, lambda arm: bool(arm.teachers and confused(arm)))
    for arm in taught or best_students(record, MAX_STUDENTS, lambda arm: bool(confused(arm))):
        own = confused(arm)
        pairs = sorted(own, key=lambda pair: (-own[pair], pair))[:MAX_PAIRS]
        told = ", ".join(
            f"{record.class_name(true)} as {record.class_name(other)} {format_number(own[true, other], 1)} %"
            for true, other in pairs[:5]
        )
        drawings.append(
            Drawing(
                f"confusions-{name_part(arm.name)}",
                f"Most frequent confusions of {arm.name}",
                f"Most frequent confusions of {arm.name}, as a share of the images of the class: {told}.",
                lambda of=(arm, pairs): _confusions(record, *of),
            )
        )
    return drawings or Missing("no student was measured with a confusion matrix, or none confuses anything")


def confused(arm: Arm) -> dict[tuple[int, int], float]:
    """How often an arm takes a class for another one: percent of the images of the class, over all seeds."""
    counts = arm.confusion
    images: dict[int, int] = {}
    for (true, _), count in counts.items():
        images[true] = images.get(true, 0) + count
    return {pair: 100 * count / images[pair[0]] for pair, count in counts.items() if pair[0] != pair[1]}


def _confusions(record: RunRecord, arm: Arm, pairs: Sequence[tuple[int, int]]) -> Figure:
    arms = [arm, *(other for other in _references(record, arm) if other.confusion)]
    styles = arm_styles([*record.arms, *(other for other in arms if other not in record.arms)])
    shares = {one.name: confused(one) for one in arms}
    figure = new_figure(5.2, 0.9 + 0.17 * len(pairs))
    panel: Axes = figure.subplots()
    for place, pair in enumerate(pairs):
        values = [of_arm.get(pair, 0.0) for of_arm in shares.values()]
        panel.plot([min(values), max(values)], [place, place], color="#B5B5B5", linewidth=1.1, zorder=1)
        for one, value in zip(arms, values, strict=True):
            _dot(panel, one, styles[one.name], value, place)
    for one in arms:
        style = styles[one.name]
        panel.plot(
            [],
            [],
            style.marker,
            color=style.colour,
            markerfacecolor=fill(one, style.colour),
            label=shorten(one.name, 24),
            linestyle="none",
        )
    name_rows(panel, [f"{record.class_name(true)} → {record.class_name(other)}" for true, other in pairs], length=44)
    panel.set_xlim(left=0)
    panel.set_title(f"Images of a class taken for another one (%), {shorten(arm.name, 16)}")
    panel.legend(loc="lower right")
    add_note(figure, [f"class → predicted class, {record.split} set", "open marker: teacher"])
    return figure


def _dot(panel: Axes, arm: Arm, style: ArmStyle, value: float, place: int) -> None:
    panel.plot(
        [value],
        [place],
        style.marker,
        color=style.colour,
        markerfacecolor=fill(arm, style.colour),
        markersize=4.2,
        zorder=3,
    )

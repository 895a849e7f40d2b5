"""Images on which a student and its teacher disagree, with the three most probable classes of each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from limbeck.report.arms import Arm
from limbeck.report.figures.drawing import Drawing, Missing, best_students, name_part
from limbeck.report.figures.style import ACCENT, FAINT, TEXT, TWO_COLUMNS, add_note, new_figure, shorten
from limbeck.report.run_data import RunRecord
from limbeck.storage.predictions import Predictions, SampleImages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_SHEETS = 2
IN_A_ROW, ROWS_OF_A_KIND = 4, 1
RIGHT, WRONG = "#0A5C3B", "#8A3B00"
"""Colours of classes that are the label and that are not; right ones are bold and marked as well."""


class Disagreement(NamedTuple):
    """row: of the sample images. place: in the split."""

    row: int
    place: int


def draw_pictures(record: RunRecord) -> list[Drawing] | Missing:
    """Images on which only the student is right, only the teacher is, and neither is."""
    sample = record.sample_images
    if sample is None or not len(sample.images):
        return Missing("no images were kept")
    drawings: list[Drawing] = []
    for arm in best_students(record, MAX_SHEETS, lambda arm: _pair(record, arm, sample) is not None):
        found = _pair(record, arm, sample)
        if found is None:
            continue
        teacher, of_student, of_teacher = found
        kinds = disagreements(sample, of_student, of_teacher)
        if not any(kinds.values()):
            continue
        told = ", ".join(f"{len(rows)} where {_kind(kind, arm, teacher)}" for kind, rows in kinds.items())
        alt = f"Images of the {sample.split} set on which {arm.name} and its teacher {teacher.name} disagree: {told}."
        drawings.append(
            Drawing(
                f"pictures-{name_part(arm.name)}",
                f"Where {arm.name} and {teacher.name} disagree",
                alt,
                lambda of=(arm, teacher, kinds, of_student, of_teacher): _figure(record, sample, *of),
            )
        )
    return drawings or Missing("no predictions of a student and its teacher were kept for the images")


def _pair(record: RunRecord, arm: Arm, sample: SampleImages) -> tuple[Arm, Predictions, Predictions] | None:
    """The first teacher of an arm, and the predictions of both for the split of the images, of their first seeds."""
    own = _first(record, arm.name, sample)
    for name in arm.teachers:
        teacher, theirs = record.arm(name), _first(record, name, sample)
        if teacher and own and theirs and np.array_equal(own.labels, theirs.labels):
            return teacher, own, theirs
    return None


def _first(record: RunRecord, name: str, sample: SampleImages) -> Predictions | None:
    kept = [by_split.get(sample.split) for (arm, _), by_split in sorted(record.predictions.items()) if arm == name]
    last = int(sample.places.max())
    return next((one for one in kept if one is not None and len(one.labels) > last), None)


def disagreements(
    sample: SampleImages, of_student: Predictions, of_teacher: Predictions
) -> dict[str, list[Disagreement]]:
    """The sample images on which the two differ, by who is right: `student`, `teacher`, `neither`."""
    kinds: dict[str, list[Disagreement]] = {"student": [], "teacher": [], "neither": []}
    for row, place in enumerate(map(int, sample.places)):
        if of_student.predicted[place] != of_teacher.predicted[place]:
            right = "student" if of_student.correct[place] else "teacher" if of_teacher.correct[place] else "neither"
            kinds[right].append(Disagreement(row, place))
    return kinds


def _kind(kind: str, arm: Arm, teacher: Arm) -> str:
    right = {"student": f"only {shorten(arm.name, 24)}", "teacher": f"only {shorten(teacher.name, 24)}"}
    return f"{right.get(kind, 'neither')} is right"


def _figure(
    record: RunRecord,
    sample: SampleImages,
    arm: Arm,
    teacher: Arm,
    kinds: dict[str, list[Disagreement]],
    of_student: Predictions,
    of_teacher: Predictions,
) -> Figure:
    shown = {kind: rows[: IN_A_ROW * ROWS_OF_A_KIND] for kind, rows in kinds.items() if rows}
    lines = sum(math.ceil(len(rows) / IN_A_ROW) for rows in shown.values())
    figure = new_figure(TWO_COLUMNS, 0.25 + 1.28 * lines)
    heights = [part for rows in shown.values() for part in (0.13, *[1.0] * math.ceil(len(rows) / IN_A_ROW))]
    grid = figure.add_gridspec(len(heights), 2 * IN_A_ROW, height_ratios=heights, width_ratios=[1.0, 1.3] * IN_A_ROW)
    line = 0
    for kind, rows in shown.items():
        said = _kind(kind, arm, teacher)
        heading = _empty(figure.add_subplot(grid[line, :]))
        heading.text(0, 0, f"{said[0].upper()}{said[1:]}", va="bottom", fontsize=7.5, fontweight="bold")
        line += 1
        for number in range(IN_A_ROW * math.ceil(len(rows) / IN_A_ROW)):
            row, column = line + number // IN_A_ROW, 2 * (number % IN_A_ROW)
            image, answers = (_empty(figure.add_subplot(grid[row, column + side])) for side in (0, 1))
            if number < len(rows):
                _image(image, record, sample, rows[number], of_student)
                _answers(answers, record, rows[number].place, ((arm, of_student), (teacher, of_teacher)))
        line += math.ceil(len(rows) / IN_A_ROW)
    left = sum(map(len, kinds.values())) - sum(map(len, shown.values()))
    add_note(
        figure,
        [
            f"images of the {sample.split} set, each under its label",
            "✓ the label",
            "chosen because the two disagree while both are sure: not typical images",
            f"{left} more are kept" if left else "",
        ],
    )
    return figure


def _empty(panel: Axes) -> Axes:
    panel.set_axis_off()
    return panel


def _image(panel: Axes, record: RunRecord, sample: SampleImages, one: Disagreement, kept: Predictions) -> None:
    pixels = sample.images[one.row]
    if pixels.shape[2] == 1:
        panel.imshow(pixels[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        panel.imshow(pixels[..., :3], interpolation="nearest")
    panel.set_title(shorten(record.class_name(int(kept.labels[one.place])), 16), fontsize=7, fontweight="normal", pad=2)


def _answers(
    panel: Axes, record: RunRecord, place: int, told: tuple[tuple[Arm, Predictions], tuple[Arm, Predictions]]
) -> None:
    """The most probable classes of both models, with their probabilities and short bars."""
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1)
    top = 1.0
    for arm, kept in told:
        panel.text(0, top, shorten(arm.name, 18), va="top", fontsize=5.6, color=FAINT, fontstyle="italic")
        top -= 0.125
        for number, probability in zip(kept.classes[place], kept.probabilities[place], strict=True):
            is_right = int(number) == int(kept.labels[place])
            share = float(probability)
            text = f"{shorten(record.class_name(int(number)), 13)}{' ✓' if is_right else ''}"
            if math.isfinite(share):
                panel.plot([0, 0.98 * share], [top - 0.105] * 2, color=ACCENT if not is_right else RIGHT, linewidth=1.1)
            panel.text(
                0, top, text, va="top", fontsize=5.6, color=RIGHT if is_right else WRONG,
                fontweight="bold" if is_right else "normal",
            )  # fmt: skip
            said = f"{100 * share:.0f} %" if math.isfinite(share) else "–"
            panel.text(1.0, top, said, va="top", ha="right", fontsize=5.6, color=TEXT)
            top -= 0.125
        top -= 0.02

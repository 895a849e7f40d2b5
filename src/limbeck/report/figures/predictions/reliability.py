"""Reliability diagrams: how often a model is right where it says how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limbeck.report.arms import Arm
from limbeck.report.figures.drawing import Drawing, Missing, best_students
from limbeck.report.figures.style import (
    FAINT,
    SMALL,
    TEXT,
    TWO_COLUMNS,
    ArmStyle,
    add_note,
    arm_styles,
    new_figure,
    shorten,
    text_colour,
)
from limbeck.report.formatting import format_number
from limbeck.report.run_data import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 15
"""As in the expected calibration error of the tables."""
MAX_PANELS, IN_A_ROW = 8, 4
NOTHING_KEPT = "no predictions for single images were kept"


@dataclass(frozen=True)
class Bins:
    """Images by confidence, over all seeds. images: `[15]`. confidence, accuracy: `[15]` means, NaN in empty bins."""

    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error in [0, 1]."""
        known = self.images > 0
        gaps = np.abs(self.accuracy[known] - self.confidence[known])
        return float((self.images[known] * gaps).sum() / self.images.sum())


def draw_reliability(record: RunRecord) -> list[Drawing] | Missing:
    """Accuracy by confidence, teachers first, then the students that are best on the validation set."""
    kept = {name for name, _ in record.predictions}
    teachers = [arm for arm in record.arms if arm.role != "student" and arm.name in kept][: MAX_PANELS // 2]
    students = best_students(record, MAX_PANELS - len(teachers), lambda arm: arm.name in kept)
    found = {arm.name: bins for arm in (*teachers, *students) if (bins := bins_of(record, arm))}
    if not found:
        return Missing(NOTHING_KEPT)
    told = ", ".join(f"{name} {format_number(100 * bins.error)} %" for name, bins in found.items())
    alt = f"Accuracy by confidence on the {record.split} set. Expected calibration error: {told}."
    arms = [arm for arm in (*teachers, *students) if arm.name in found]
    return [Drawing("reliability", "Reliability diagrams", alt, lambda: _figure(record, arms, found))]


def bins_of(record: RunRecord, arm: Arm) -> Bins | None:
    """The predictions of an arm on the reported split in equal bins of confidence; None if there are none."""
    confidences, correct = [], []
    for (name, _), by_split in record.predictions.items():
        if name == arm.name and (kept := by_split.get(record.split)):
            known = np.isfinite(kept.confidence)
            confidences.append(kept.confidence[known].astype(np.float64))
            correct.append(kept.correct[known])
    if not sum(map(len, confidences)):
        return None
    confidence, right = np.concatenate(confidences), np.concatenate(correct)
    place = np.clip(np.ceil(confidence * BINS).astype(int), 1, BINS) - 1
    images = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        of_confidence = np.bincount(place, confidence, BINS) / images
        return Bins(images, of_confidence, np.bincount(place, right, BINS) / images)


def _figure(record: RunRecord, arms: list[Arm], found: dict[str, Bins]) -> Figure:
    styles = arm_styles(record.arms)
    columns = min(IN_A_ROW, len(arms))
    rows = math.ceil(len(arms) / columns)
    figure = new_figure(min(TWO_COLUMNS, 0.5 + 1.75 * columns), 0.5 + 1.85 * rows)
    panels: Any = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for number, panel in enumerate(panels.flat):
        if number >= len(arms):
            panel.set_axis_off()
            continue
        _panel(panel, arms[number], found[arms[number].name], styles[arms[number].name])
        if number % columns == 0:
            panel.set_ylabel("Accuracy")
        if number + columns >= len(arms):
            panel.set_xlabel("Confidence")
            panel.tick_params(labelbottom=True)
    more = len({name for name, _ in record.predictions}) - len(arms)
    notes = ["points: accuracy in 15 bins of confidence", "grey bars: share of the images", "below the line: too sure"]
    add_note(figure, [*notes, f"{more} more arms are not shown" if more > 0 else ""])
    return figure


def _panel(panel: Axes, arm: Arm, bins: Bins, style: ArmStyle) -> None:
    known = bins.images > 0
    edges = (np.arange(BINS) + 0.5) / BINS
    panel.bar(edges, bins.images / bins.images.sum(), width=0.9 / BINS, color="#D9D9D9", zorder=1)
    panel.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (4, 2)), zorder=2)
    for x, y in zip(bins.confidence[known], bins.accuracy[known], strict=True):
        panel.plot([x, x], [x, y], color=style.colour, linewidth=0.8, alpha=0.6, zorder=2)
    panel.plot(
        bins.confidence[known],
        bins.accuracy[known],
        color=style.colour,
        marker=style.marker,
        markersize=3,
        lw=1,
        zorder=3,
    )
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.set_xticks([0, 0.5, 1])
    panel.set_yticks([0, 0.5, 1])
    panel.set_title(shorten(arm.name, 18), color=text_colour(style.colour))
    panel.text(0.04, 0.93, f"ECE {format_number(100 * bins.error, 1)} %", va="top", fontsize=SMALL, color=TEXT)

"""What a temperature does to the probabilities of a teacher: on average, and for single images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from limbeck.report.arms import Arm
from limbeck.report.figures.drawing import Drawing, Missing, name_part
from limbeck.report.figures.style import (
    COLOURS,
    FAINT,
    MARKERS,
    SMALL,
    TEXT,
    TWO_COLUMNS,
    add_note,
    new_figure,
    shorten,
)
from limbeck.report.formatting import format_number
from limbeck.report.run_data import RunRecord
from limbeck.storage.predictions import Softened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_FIGURES = 3
SHOWN_CLASSES = 5


def draw_temperature(record: RunRecord) -> list[Drawing] | Missing:
    """The softmax of each teacher at several temperatures, for the first seed that was kept."""
    found = [(arm, kept) for arm in record.arms if (kept := _kept(record, arm)) is not None]
    drawings: list[Drawing] = []
    for arm, kept in found[:MAX_FIGURES]:
        told = ", ".join(
            f"temperature {t:g}: {format_number(100 * first, 1)} % and {format_number(entropy)} nats"
            for t, first, entropy in zip(kept.temperatures, kept.ranked[:, 0], kept.entropy, strict=True)
        )
        alt = f"Mean largest probability and entropy of {arm.name} on the {record.split} set, {told}."
        name, title = f"temperature-{name_part(arm.name)}", f"Effect of temperature on {arm.name}"
        drawings.append(Drawing(name, title, alt, lambda of=(arm, kept): _figure(record, *of)))
    return drawings or Missing("no probabilities of a teacher at several temperatures were kept")


def _kept(record: RunRecord, arm: Arm) -> Softened | None:
    return next((kept for (name, _), kept in sorted(record.softened.items()) if name == arm.name), None)


def _figure(record: RunRecord, arm: Arm, kept: Softened) -> Figure:
    examples = len(kept.places)
    figure = new_figure(TWO_COLUMNS if examples else 3.5, 2.35)
    widths = [1.15] + [1.0] * examples
    panels: Sequence[Axes] = figure.subplots(1, 1 + examples, squeeze=False, width_ratios=widths)[0]
    ranks = np.arange(1, kept.ranked.shape[1] + 1)
    for number, temperature in enumerate(kept.temperatures):
        panels[0].plot(
            ranks, 100 * kept.ranked[number], color=COLOURS[number % 7], marker=MARKERS[number % 7], markersize=3,
            label=f"T = {temperature:g}: {kept.entropy[number]:.2f} nats",
        )  # fmt: skip
    panels[0].set_title(f"{shorten(arm.name, 18)}: mean probability (%)")
    panels[0].set_xlabel("Rank of the class")
    panels[0].set_ylim(0, 102)
    panels[0].set_xticks(ranks[:: 1 if len(ranks) <= 10 else 2])
    panels[0].legend(title="temperature: entropy", title_fontsize=6.5, fontsize=6.5, labelspacing=0.25)
    for number, panel in enumerate(panels[1:]):
        _example(panel, record, kept, number)
    add_note(
        figure,
        [f"over all images of the {record.split} set", "single images: of medium and of low certainty"],
    )
    return figure


def _example(panel: Axes, record: RunRecord, kept: Softened, number: int) -> None:
    """The probabilities of the most probable classes of one image, a group of bars for each class."""
    classes = kept.classes[number][:SHOWN_CLASSES]
    height = 0.84 / len(kept.temperatures)
    for place, _ in enumerate(kept.temperatures):
        rows = np.arange(len(classes)) - 0.42 + height * (place + 0.5)
        values = 100 * kept.probabilities[number, place, : len(classes)]
        panel.barh(rows, values, height=height, color=COLOURS[place % 7], zorder=2)
    names = record.class_names
    labels = [names[index] if index < len(names) else str(index) for index in classes]
    panel.set_yticks(range(len(classes)), [shorten(label, 12) for label in labels])
    panel.set_ylim(len(classes) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")
    panel.set_xlim(0, 100)
    panel.set_title("A single image (%)" if len(kept.places) == 1 else f"Image {int(kept.places[number])} (%)")
    panel.text(0.97, 0.05, f"label: {shorten(labels[0], 14)}", transform=panel.transAxes, ha="right", fontsize=SMALL,
               color=TEXT)  # fmt: skip
    panel.set_xlabel("Probability (%)", color=FAINT)

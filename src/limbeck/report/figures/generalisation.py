"""Training and validation loss of each arm in one panel, with the gap between them marked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limbeck.report.arms import Arm
from limbeck.report.formatting import format_signed
from limbeck.report.run_data import RunRecord
from limbeck.report.statistics import mean

from .curves import NO_CURVES, epoch_values, with_curves
from .drawing import Drawing, Missing, best_students
from .style import TEXT, TWO_COLUMNS, ArmStyle, add_note, arm_styles, new_figure, shorten, text_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = "cross_entropy"
MAX_PANELS, IN_A_ROW = 12, 4


@dataclass(frozen=True)
class _Losses:
    """Cross-entropy with the labels, means over seeds by epoch; epoch: the selected one. gap: there."""

    arm: Arm
    training: Mapping[int, float]
    validation: Mapping[int, float]
    epoch: int

    @property
    def gap(self) -> float:
        return self.validation[self.epoch] - self.training[self.epoch]


def draw_generalisation(record: RunRecord) -> list[Drawing] | Missing:
    """The generalisation gap: validation minus training cross-entropy at the selected epoch, in nats."""
    if not with_curves(record):
        return Missing(NO_CURVES)
    found = [losses for arm in record.arms if (losses := _losses(record, arm))]
    if not found:
        return Missing("no arm learns from labels, so that no training loss is comparable with the validation loss")
    alt = "Generalisation gap, validation minus training cross-entropy: " + ", ".join(
        f"{one.arm.name} {format_signed(one.gap)}" for one in _shown(record, found)
    )
    return [Drawing("generalisation", "Training and validation loss", f"{alt}.", lambda: _figure(record, found))]


def _losses(record: RunRecord, arm: Arm) -> _Losses | None:
    """The losses of an arm that learns from labels, its training loss divided by the weight that it has."""
    options = record.options.get(arm.name, {})
    weight = options.get(f"loss.{LABELS}.weight")
    if not isinstance(weight, int | float) or not weight or options.get(f"loss.{LABELS}.warmup_epochs"):
        return None
    rows = [of for (name, _), of in record.curves.items() if name == arm.name]
    training = _means([epoch_values(of, f"train_{LABELS}", 1) for of in rows], 1 / weight)
    validation = _means([epoch_values(of, "validation_loss", 1) for of in rows], 1.0)
    both = [epoch for epoch in training if epoch in validation]
    if not both:
        return None
    chosen = [learner["chosen_epoch"] for learner in arm.learners if learner.get("chosen_epoch")]
    wanted = mean(chosen) if chosen else both[-1]
    return _Losses(arm, training, validation, min(both, key=lambda epoch: abs(epoch - wanted)))


def _means(of_seeds: list[dict[int, float]], scale: float) -> dict[int, float]:
    epochs = sorted({epoch for values in of_seeds for epoch in values})
    return {epoch: scale * mean([values[epoch] for values in of_seeds if epoch in values]) for epoch in epochs}


def _shown(record: RunRecord, found: list[_Losses]) -> list[_Losses]:
    """Of too many arms, some teachers and the students that are best on the validation set."""
    teachers = [one.arm.name for one in found if one.arm.role != "student"][
        : IN_A_ROW if len(found) > MAX_PANELS else None
    ]
    names = {one.arm.name for one in found}
    students = best_students(record, MAX_PANELS - len(teachers), lambda arm: arm.name in names)
    chosen = {*teachers, *(arm.name for arm in students)}
    return [one for one in found if one.arm.name in chosen][:MAX_PANELS]


def _figure(record: RunRecord, found: list[_Losses]) -> Figure:
    shown, styles = _shown(record, found), arm_styles(record.arms)
    rows = math.ceil(len(shown) / IN_A_ROW)
    columns = min(IN_A_ROW, len(shown)) if rows > 1 else len(shown)
    figure = new_figure(min(TWO_COLUMNS, 0.6 + 2.2 * columns), 0.45 + 1.65 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    ends = [value for one in shown for values in (one.training, one.validation) for value in values.values()]
    top = 1.08 * sorted(ends)[round(0.98 * (len(ends) - 1))]  # a spike in the first epochs does not flatten the rest
    for panel, one in zip(panels, shown, strict=False):
        _panel(panel, one, styles[one.arm.name])
    for number, panel in enumerate(figure.axes):
        if number >= len(shown):
            panel.set_axis_off()
            continue
        panel.set_ylim(0, top)
        if number % columns == 0:
            panel.set_ylabel("Cross-entropy")
        if number + columns >= len(shown):
            panel.set_xlabel("Epoch")
    more = f"{len(found) - len(shown)} more arms are not shown" if len(found) > len(shown) else ""
    note = "training cross-entropy is that with the labels, on augmented images, as trained (smoothed, mixed)"
    add_note(figure, ["solid: validation", "dotted: training", "gap: at the selected epoch", note, more])
    return figure


def _panel(panel: Axes, one: _Losses, style: ArmStyle) -> None:
    from matplotlib.ticker import MaxNLocator

    both = [epoch for epoch in one.training if epoch in one.validation]
    training, validation = [one.training[e] for e in both], [one.validation[e] for e in both]
    panel.fill_between(both, training, validation, color=style.colour, alpha=0.13, linewidth=0)
    panel.plot(both, validation, color=style.colour)
    panel.plot(both, training, color=style.colour, linestyle=(0, (1, 1.2)))
    ends = [one.training[one.epoch], one.validation[one.epoch]]
    panel.plot([one.epoch] * 2, ends, "_-", color=TEXT, linewidth=1, markersize=5, zorder=4)
    panel.set_title(shorten(one.arm.name, 14), color=text_colour(style.colour))
    panel.set_title(f"gap {format_signed(one.gap)}", loc="right", fontsize=7, color=TEXT)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))

"""Accuracy and loss by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limbeck.report.arms import Arm
from limbeck.report.statistics import mean

from .style import ArmStyle, arm_styles, render_figure, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
"""One row of metrics per epoch, by (arm, seed)."""

TITLES = {
    "train_accuracy": "Training accuracy, augmented images (%)",
    "validation_accuracy": "Validation accuracy (%)",
    "train_loss": "Training loss (objectives differ between arms)",
    "validation_loss": "Validation cross-entropy",
}
LATE, MIN_EPOCHS_FOR_LATE = 0.75, 8
"""The figure of the last epochs begins after this share of the shortest training, and needs so many epochs."""


def draw_curves(arms: Sequence[Arm], curves: Curves, title: str) -> dict[str, bytes]:
    """Figures of accuracy, loss and the last epochs, as PNG and SVG by file name. Empty without metrics.

    Training on the left, validation on the right; the last epochs show validation only. Lines are means over seeds,
    bands their ranges, long dashes teachers. A marker shows the selected epoch, an x where a learner failed.
    """
    if not any(curves.get((arm.name, learner["seed"])) for arm in arms for learner in arm.learners):
        return {}
    failed = {(arm.name, learner["seed"]) for arm in arms for learner in arm.learners if learner.get("failure")}
    last = max(len(rows) for rows in curves.values())
    shortest = min((len(rows) for key, rows in curves.items() if rows and key not in failed), default=last)
    figures = {
        "accuracy": ("Accuracy by epoch", ("train_accuracy", "validation_accuracy"), 1),
        "loss": ("Loss by epoch", ("train_loss", "validation_loss"), 1),
    }
    if last >= MIN_EPOCHS_FOR_LATE:
        keys = ("validation_loss", "validation_accuracy")
        first = 1 + math.floor(max(LATE * shortest, last / 3))  # a learner that stopped early does not extend it
        figures["last-epochs"] = ("Last epochs", keys, first)
    files: dict[str, bytes] = {}
    for name, (what, keys, first) in figures.items():
        heading = f"{what} · {shorten(title, 60)}"
        files |= render_figure(name, lambda h=heading, k=keys, f=first: _figure(arms, curves, k, h, f, last))
    return files


def _figure(arms: Sequence[Arm], curves: Curves, keys: Sequence[str], heading: str, first: int, last: int) -> Figure:
    """Two panels of the epochs `first` to `last`, with the names of the arms beside the right panel."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=all(key.endswith("accuracy") for key in keys))
    ends: list[tuple[float, str, str]] = []
    drawn: list[Arm] = []
    styles = arm_styles(arms)
    for arm in arms:
        style = styles[arm.name]
        _line(panels[0], arm, curves, keys[0], style, first)
        end = _line(panels[1], arm, curves, keys[1], style, first)
        if end is not None:
            ends.append((end, arm.name, style.colour))
            drawn.append(arm)
    figure.suptitle(heading, x=0.01, ha="left", parse_math=False)
    margin = 0.02 * (last - first + 1)
    for panel, key in zip(panels, keys, strict=True):
        panel.set_title(TITLES[key])
        panel.set_xlabel("epoch")
        panel.set_xlim(first - margin, last + margin)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.tick_params(length=0, labelleft=True)
        if key.endswith("loss") and first == 1:
            _scale_losses(panel)
    figure.canvas.draw()
    _label_ends(panels[1], ends)
    _legend(figure, drawn or arms)
    return figure


def _line(panel: Axes, arm: Arm, curves: Curves, key: str, style: ArmStyle, first: int) -> float | None:
    """Draw one arm; returns its last finite mean, where its label goes."""
    colour, line, marker = style
    per_seed = {
        learner["seed"]: _values(curves.get((arm.name, learner["seed"]), ()), key, first) for learner in arm.learners
    }
    last = max((max(values, default=0) for values in per_seed.values()), default=0)
    epochs = [e for e in range(1, last + 1) if any(e in values for values in per_seed.values())]
    if not epochs:
        return None
    columns = [[values[e] for values in per_seed.values() if e in values] for e in epochs]
    means = [mean(column) for column in columns]
    panel.plot(epochs, means, color=colour, linestyle=line, linewidth=1.7, zorder=3)
    if len(per_seed) > 1:
        low, high = [min(c) for c in columns], [max(c) for c in columns]
        panel.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)
    for learner in arm.learners:
        values = per_seed[learner["seed"]]
        selected = learner.get("chosen_epoch")
        if selected in values:
            panel.plot(
                [selected], [values[selected]], marker, color=colour, markersize=4.5, markeredgecolor="white", zorder=4
            )
        if learner.get("failure") and values:
            last = max(values)
            panel.plot([last], [values[last]], "x", color=colour, markersize=8, markeredgewidth=2, zorder=5)
    return means[-1]


def _values(rows: Sequence[Mapping[str, Any]], key: str, first: int) -> dict[int, float]:
    """Finite values by epoch, accuracies in percent."""
    scale = 100.0 if key.endswith("accuracy") else 1.0
    values = {int(row["epoch"]): row.get(key) for row in rows if int(row["epoch"]) >= first}
    return {e: float(v) * scale for e, v in values.items() if v is not None and math.isfinite(float(v))}


def _scale_losses(panel: Axes) -> None:
    """A logarithmic axis if an early spike would flatten the rest, else an axis from 0."""
    heights = [float(y) for line in panel.get_lines() for y in line.get_ydata()]  # pyright: ignore
    if heights and min(heights) > 0 and max(heights) > 12 * min(heights):
        panel.set_yscale("log")
        panel.grid(True, which="minor", linewidth=0.3)
    elif heights and min(heights) >= 0:
        panel.set_ylim(bottom=0)


def _label_ends(panel: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Put the name of each arm at the end of its validation curve, without overlaps."""
    points = panel.transData.transform([(0.0, height) for height, _, _ in ends])[:, 1] if ends else []
    box = panel.get_window_extent()
    order = sorted(range(len(ends)), key=lambda i: points[i])
    step = 0.058  # height of a line of text as a share of the panel
    places = [(points[i] - box.y0) / box.height for i in order]
    spread = _spread_out(places, min(step, 1 / max(1, len(ends))))
    for i, height, place in zip(order, places, spread, strict=True):
        _, name, colour = ends[i]
        panel.annotate(
            shorten(name, 28),
            xy=(1.0, height),
            xytext=(1.05, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=9 if len(ends) <= 16 else 6,
            fontweight="bold",
            annotation_clip=False,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.7,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 0,
            },
        )


def _spread_out(places: Sequence[float], step: float) -> list[float]:
    """Ascending places in [0, 1] moved at least `step` apart, each group around its centre."""
    groups: list[list[float]] = []  # [sum of original places, count]
    for place in places:
        groups.append([place, 1])
        while len(groups) > 1 and _top(groups[-2], step) + step > _bottom(groups[-1], step):
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    return [_bottom(group, step) + i * step for group in groups for i in range(int(group[1]))]


def _bottom(group: Sequence[float], step: float) -> float:
    height = (group[1] - 1) * step
    return min(max(group[0] / group[1] - height / 2, 0.0), max(0.0, 1.0 - height))


def _top(group: Sequence[float], step: float) -> float:
    return _bottom(group, step) + (group[1] - 1) * step


def _legend(figure: Figure, arms: Sequence[Arm]) -> None:
    seeds = max(len(arm.learners) for arm in arms)
    parts = [f"line: mean of {seeds} seeds, band: range"] if seeds > 1 else ["one seed (n = 1)"]
    if any(arm.role == "teacher" for arm in arms) and any(arm.role != "teacher" for arm in arms):
        parts.append("long dashes: teacher")
    parts.append("marker: selected epoch")
    if any(arm.failed for arm in arms):
        parts.append("×: failed, loss not finite")
    figure.text(0.01, -0.01, "   ·   ".join(parts), ha="left", va="top", fontsize=8, color="#444444")

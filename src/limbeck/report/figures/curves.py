"""Accuracy and loss by epoch, as figures that read without colour vision and without the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limbeck.report.arms import Arm
from limbeck.report.statistics import mean

from .style import Look, drawn, looks, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
"""(arm, seed) to one row of metrics an epoch."""

TITLES = {
    "train_accuracy": "On training views (%)",
    "validation_accuracy": "On validation images (%)",
    "train_loss": "Training objective (differs between arms)",
    "validation_loss": "Cross-entropy on validation images",
}
LATE, FEWEST_FOR_LATE = 0.75, 8
"""The figure of the last epochs begins after this part of the shortest arm's epochs, where there are so many."""


def draw(arms: Sequence[Arm], curves: Curves, title: str) -> dict[str, bytes]:
    """File name to bytes: accuracy, loss and the last quarter of both, as PNG and SVG. Empty where no row was recorded.

    Training on the left, validation on the right; of the last epochs both on validation. A line is the mean over
    seeds, the band their range. Teachers are dashed. A marker stands at the chosen epoch, an x where a learner ended
    early.
    """
    if not any(curves.get((arm.name, learner["seed"])) for arm in arms for learner in arm.learners):
        return {}
    lengths = sorted(len(rows) for rows in curves.values() if rows)
    shortest, last = lengths[0], lengths[-1]
    figures = {
        "accuracy": ("Accuracy by epoch", ("train_accuracy", "validation_accuracy"), 1),
        "loss": ("Loss by epoch", ("train_loss", "validation_loss"), 1),
    }
    if last >= FEWEST_FOR_LATE:
        keys = ("validation_loss", "validation_accuracy")
        first = 1 + math.floor(max(LATE * shortest, last / 2))  # one that ended early does not stretch it
        figures["last-epochs"] = ("The last epochs", keys, first)
    files: dict[str, bytes] = {}
    for name, (what, keys, first) in figures.items():
        heading = f"{what} · {shortened(title, 60)}"
        files |= drawn(name, lambda h=heading, k=keys, f=first: _figure(arms, curves, k, h, f, last))
    return files


def _figure(arms: Sequence[Arm], curves: Curves, keys: Sequence[str], heading: str, first: int, last: int) -> Figure:
    """Two panels, the names of arms beside the right one; from epoch `first` to `last`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=all(key.endswith("accuracy") for key in keys))
    ends: list[tuple[float, str, str]] = []
    look_of = looks(arms)
    for arm in arms:
        look = look_of[arm.name]
        _line(panels[0], arm, curves, keys[0], look, first)
        end = _line(panels[1], arm, curves, keys[1], look, first)
        if end is not None:
            ends.append((end, arm.name, look.colour))
    figure.suptitle(heading, x=0.01, ha="left", parse_math=False)
    reach = 0.02 * (last - first + 1)
    for panel, key in zip(panels, keys, strict=True):
        panel.set_title(TITLES[key])
        panel.set_xlabel("epoch")
        panel.set_xlim(first - reach, last + reach)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.tick_params(length=0, labelleft=True)
        if key.endswith("loss") and first == 1:
            _logarithmic_where_needed(panel)
    figure.canvas.draw()
    _label_ends(panels[1], ends)
    _explain(figure, arms)
    return figure


def _line(panel: Axes, arm: Arm, curves: Curves, key: str, look: Look, first: int) -> float | None:
    """Draw one arm in its colour, line and marker; returns the height of its last finite mean, where the label goes."""
    colour, line, marker = look
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
        chosen = learner.get("chosen_epoch")
        if chosen in values:
            at = [chosen], [values[chosen]]
            panel.plot(*at, marker, color=colour, markersize=4.5, markeredgecolor="white", zorder=4)
        if learner.get("failure") and values:
            ended = max(values)
            panel.plot([ended], [values[ended]], "x", color=colour, markersize=8, markeredgewidth=2, zorder=5)
    return means[-1]


def _values(rows: Sequence[Mapping[str, Any]], key: str, first: int) -> dict[int, float]:
    """Epoch to value, accuracies in percent; what was not measured or is not finite is left out."""
    scale = 100.0 if key.endswith("accuracy") else 1.0
    found = {int(row["epoch"]): row.get(key) for row in rows if int(row["epoch"]) >= first}
    return {e: float(v) * scale for e, v in found.items() if v is not None and math.isfinite(float(v))}


def _logarithmic_where_needed(panel: Axes) -> None:
    """One early spike must not flatten everything that follows."""
    heights = [float(y) for line in panel.get_lines() for y in line.get_ydata()]  # pyright: ignore
    if heights and min(heights) > 0 and max(heights) > 12 * min(heights):
        panel.set_yscale("log")
        panel.grid(True, which="minor", linewidth=0.3)
    elif heights and min(heights) >= 0:
        panel.set_ylim(bottom=0)


def _label_ends(panel: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Each arm's name at the end of its validation curve, moved apart where two would overlap."""
    points = panel.transData.transform([(0.0, height) for height, _, _ in ends])[:, 1] if ends else []
    box = panel.get_window_extent()
    order = sorted(range(len(ends)), key=lambda i: points[i])
    step = 0.058  # one line of text as a share of the panel's height
    places = [(points[i] - box.y0) / box.height for i in order]
    placed = _apart(places, min(step, 1 / max(1, len(ends))))
    for i, wanted, place in zip(order, places, placed, strict=True):
        _, name, colour = ends[i]
        panel.annotate(
            shortened(name, 28),
            xy=(1.0, wanted),
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


def _apart(places: Sequence[float], step: float) -> list[float]:
    """Ascending places in [0, 1] pushed to be at least `step` apart, each group about its own middle."""
    groups: list[list[float]] = []  # [sum of wanted places, count]
    for place in places:
        groups.append([place, 1])
        while len(groups) > 1 and _top(groups[-2], step) + step > _bottom(groups[-1], step):
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    return [_bottom(group, step) + i * step for group in groups for i in range(int(group[1]))]


def _bottom(group: Sequence[float], step: float) -> float:
    reach = (group[1] - 1) * step
    return min(max(group[0] / group[1] - reach / 2, 0.0), max(0.0, 1.0 - reach))


def _top(group: Sequence[float], step: float) -> float:
    return _bottom(group, step) + (group[1] - 1) * step


def _explain(figure: Figure, arms: Sequence[Arm]) -> None:
    seeds = max(len(arm.learners) for arm in arms)
    said = [f"line: mean of {seeds} seeds, band: their range"] if seeds > 1 else ["one seed (n = 1)"]
    if any(arm.role == "teacher" for arm in arms) and any(arm.role != "teacher" for arm in arms):
        said.append("long dashes: teacher")
    said.append("marker: chosen epoch")
    if any(arm.failed for arm in arms):
        said.append("×: ended, loss not finite")
    figure.text(0.01, -0.01, "   ·   ".join(said), ha="left", va="top", fontsize=8, color="#444444")

"""Accuracy and loss by epoch, as figures that read without colour vision and without the report."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .arms import Arm
from .statistics import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
"""(arm, seed) to one row of metrics an epoch."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe & Ito, 2008
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TEACHER_LINE, STUDENT_LINE = (0, (5, 2)), "solid"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "svg.hashsalt": "limbeck",
}


def draw(arms: Sequence[Arm], curves: Curves, title: str) -> dict[str, bytes]:
    """File name to bytes: accuracy and loss as PNG and SVG. Empty where no row was recorded.

    Training on the left, validation on the right; a line is the mean over seeds, the band their range.
    Teachers are dashed. A marker stands at the chosen epoch, an x where a learner ended early.
    """
    if not any(curves.get((arm.name, learner["seed"])) for arm in arms for learner in arm.learners):
        return {}
    import matplotlib as mpl  # late: half a second that `limbeck list` should not pay

    files: dict[str, bytes] = {}
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        for metric, scale in (("accuracy", 100.0), ("loss", 1.0)):
            figure = _figure(arms, curves, metric, scale, title)
            for kind in ("png", "svg"):
                buffer = io.BytesIO()
                stamp = {"Date": None} if kind == "svg" else None  # the same run draws the same bytes
                figure.savefig(buffer, format=kind, dpi=160, bbox_inches="tight", metadata=stamp)
                files[f"{metric}.{kind}"] = buffer.getvalue()
    return files


def _figure(arms: Sequence[Arm], curves: Curves, metric: str, scale: float, title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shared = metric == "accuracy"  # training losses are each arm's own objective: no common axis
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=shared)
    ends: list[tuple[float, str, str]] = []
    for number, arm in enumerate(arms):
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
        for panel, part in zip(panels, ("train", "validation"), strict=True):
            end = _line(panel, arm, curves, f"{part}_{metric}", scale, colour, marker)
            if part == "validation" and end is not None:
                ends.append((end, arm.name, colour))
    unit = " (%)" if shared else ""
    figure.suptitle(
        f"{metric.capitalize()}{unit} by epoch · {_shortened(title, 60)}", x=0.01, ha="left", parse_math=False
    )
    panels[0].set_title("Training views" if shared else "Training objective (differs between arms)")
    panels[1].set_title("Validation images" if shared else "Validation cross-entropy")
    last = max((len(rows) for rows in curves.values()), default=1)
    for panel in panels:
        panel.set_xlabel("epoch")
        panel.set_xlim(1 - 0.02 * last, last + 0.02 * last)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.tick_params(length=0, labelleft=True)
        if not shared:
            _logarithmic_where_needed(panel)
    figure.canvas.draw()
    _label_ends(panels[1], ends)
    _explain(figure, arms)
    return figure


def _line(panel: Axes, arm: Arm, curves: Curves, key: str, scale: float, colour: str, marker: str) -> float | None:
    """Draw one arm; returns the height of its last finite mean, where the label goes."""
    per_seed = {
        learner["seed"]: _values(curves.get((arm.name, learner["seed"]), ()), key, scale) for learner in arm.learners
    }
    last = max((max(values, default=0) for values in per_seed.values()), default=0)
    epochs = [e for e in range(1, last + 1) if any(e in values for values in per_seed.values())]
    if not epochs:
        return None
    columns = [[values[e] for values in per_seed.values() if e in values] for e in epochs]
    means = [mean(column) for column in columns]
    dashed = arm.role == "teacher"
    panel.plot(
        epochs,
        means,
        color=colour,
        linestyle=TEACHER_LINE if dashed else STUDENT_LINE,
        linewidth=1.7,
        zorder=3,
    )
    if len(per_seed) > 1:
        panel.fill_between(
            epochs,
            [min(c) for c in columns],
            [max(c) for c in columns],
            color=colour,
            alpha=0.18,
            linewidth=0,
            zorder=2,
        )
    for learner in arm.learners:
        values = per_seed[learner["seed"]]
        chosen = learner.get("chosen_epoch")
        if chosen in values:
            panel.plot(
                [chosen],
                [values[chosen]],
                marker,
                color=colour,
                markersize=4.5,
                markeredgecolor="white",
                zorder=4,
            )
        if learner.get("failure") and values:
            ended = max(values)
            panel.plot([ended], [values[ended]], "x", color=colour, markersize=8, markeredgewidth=2, zorder=5)
    return means[-1]


def _values(rows: Sequence[Mapping[str, Any]], key: str, scale: float) -> dict[int, float]:
    """Epoch to value; what was not measured or is not finite is left out."""
    found = {int(row["epoch"]): row.get(key) for row in rows}
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
            _shortened(name, 28),
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
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0},
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
        said.append("dashed: teacher")
    said.append("marker: chosen epoch")
    if any(arm.failed for arm in arms):
        said.append("×: ended, loss not finite")
    figure.text(0.01, -0.01, "   ·   ".join(said), ha="left", va="top", fontsize=8, color="#444444")


def _shortened(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"

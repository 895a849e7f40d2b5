"""Accuracy and loss by epoch: of all arms, of their last epochs, and of any few arms beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limbeck.report.arms import Arm
from limbeck.report.formatting import format_number
from limbeck.report.run_data import Curves, RunRecord
from limbeck.report.statistics import mean

from .drawing import Drawing, Missing
from .style import BACKGROUND, TWO_COLUMNS, ArmStyle, add_note, arm_styles, new_figure, shorten, text_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_CURVES = "no epoch was logged"
TITLES = {
    "train_accuracy": "Training accuracy (%)",
    "validation_accuracy": "Validation accuracy (%)",
    "train_loss": "Training loss",
    "validation_loss": "Validation cross-entropy",
}
LATE, MIN_EPOCHS_FOR_LATE = 0.75, 8
"""The figure of the last epochs begins after this share of the shortest training, and needs so many epochs."""
MAX_NAMED = 14
"""Of more arms than that, those that are best on the validation set are named, and the others are grey."""


def draw_accuracy(record: RunRecord) -> list[Drawing] | Missing:
    """Training and validation accuracy by epoch."""
    return _whole(record, "accuracy", "Accuracy by epoch", ("train_accuracy", "validation_accuracy"))


def draw_loss(record: RunRecord) -> list[Drawing] | Missing:
    """Training loss and validation cross-entropy by epoch."""
    return _whole(record, "loss", "Loss by epoch", ("train_loss", "validation_loss"))


def draw_last_epochs(record: RunRecord) -> list[Drawing] | Missing:
    """Validation cross-entropy and accuracy of the last epochs."""
    arms = with_curves(record)
    if not arms:
        return Missing(NO_CURVES)
    failed = {(arm.name, learner["seed"]) for arm in arms for learner in arm.failed}
    last = max(len(rows) for rows in record.curves.values())
    if last < MIN_EPOCHS_FOR_LATE:
        return Missing(f"the longest training has {last} epochs, fewer than {MIN_EPOCHS_FOR_LATE}")
    shortest = min((len(rows) for key, rows in record.curves.items() if rows and key not in failed), default=last)
    first = 1 + math.floor(max(LATE * shortest, last / 3))  # a learner that stopped early does not extend it
    keys = ("validation_loss", "validation_accuracy")
    alt = f"Epochs {first} to {last}. {_ends(arms, record.curves)}"
    return [
        Drawing(
            "last-epochs", "The last epochs", alt, lambda: _figure(arms, record.arms, record.curves, keys, first, last)
        )
    ]


def _whole(record: RunRecord, name: str, title: str, keys: Sequence[str]) -> list[Drawing] | Missing:
    arms = with_curves(record)
    if not arms:
        return Missing(NO_CURVES)
    last = max(len(rows) for rows in record.curves.values())
    alt = f"{TITLES[keys[0]]} and {TITLES[keys[1]].lower()} over {last} epochs. {_ends(arms, record.curves)}"
    return [Drawing(name, title, alt, lambda: _figure(arms, record.arms, record.curves, keys, 1, last))]


def with_curves(record: RunRecord) -> list[Arm]:
    """The arms of which at least one epoch was logged; also those of which nothing was measured yet."""
    known = {arm.name for arm in record.arms}
    waiting: dict[str, list[Mapping[str, Any]]] = {}
    for one in record.progress:
        if one.arm not in known:
            waiting.setdefault(one.arm, []).append({"arm": one.arm, "seed": one.seed, "role": one.role})
    unmeasured = [Arm(name, str(rows[0]["role"]), "–", (), None, tuple(rows)) for name, rows in waiting.items()]
    arms = [*record.arms, *unmeasured]
    return [arm for arm in arms if any(record.curves.get((arm.name, seed)) for seed in _seeds(arm, record.curves))]


def _seeds(arm: Arm, curves: Curves) -> list[int]:
    return [seed for name, seed in curves if name == arm.name]


def _ends(arms: Sequence[Arm], curves: Curves) -> str:
    """The last validation accuracy of each arm, in words."""
    ends: list[str] = []
    for arm in arms:
        values = [
            found[max(found)]
            for seed in _seeds(arm, curves)
            if (found := epoch_values(curves[arm.name, seed], "validation_accuracy", 1))
        ]
        ends += [f"{arm.name} {format_number(mean(values))} %"] if values else []
    return f"Validation accuracy at the end: {', '.join(ends)}." if ends else ""


def _figure(
    arms: Sequence[Arm], styled: Sequence[Arm], curves: Curves, keys: Sequence[str], first: int, last: int
) -> Figure:
    """Two panels of the epochs `first` to `last`, with the names of the arms beside the right panel."""
    named = _named(arms, curves)
    height = max(2.75, 1.2 + 0.135 * len(named))
    figure = new_figure(TWO_COLUMNS, height)
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=all(key.endswith("accuracy") for key in keys))
    styles = arm_styles([*styled, *(arm for arm in arms if arm not in styled)])
    ends: list[tuple[float, str, str]] = []
    for arm in sorted(arms, key=lambda arm: arm in named):  # the grey ones lie below
        style = styles[arm.name] if arm in named else ArmStyle(BACKGROUND, "solid", "")
        draw_arm(panels[0], arm, curves, keys[0], style, first)
        end = draw_arm(panels[1], arm, curves, keys[1], style, first)
        if end is not None and arm in named:
            ends.append((end, arm.name, style.colour))
    ended = [arm.name for arm in arms if all(len(curves[arm.name, s]) < first for s in _seeds(arm, curves))]
    for panel, key in zip(panels, keys, strict=True):
        finish_epochs(panel, key, first, last)
        panel.tick_params(labelleft=True)
    _label_ends(panels[1], ends, height - 0.9)
    add_note(figure, [*legend(arms, keys, curves), *_left_out(arms, named), *_said_to_end(ended, first)])
    return figure


def _named(arms: Sequence[Arm], curves: Curves) -> list[Arm]:
    if len(arms) <= MAX_NAMED:
        return list(arms)

    def reached(arm: Arm) -> float:
        found = [epoch_values(curves[arm.name, seed], "validation_accuracy", 1) for seed in _seeds(arm, curves)]
        return mean([values[max(values)] for values in found if values] or [0.0])

    students = sorted((arm for arm in arms if arm.role == "student"), key=reached, reverse=True)
    teachers = [arm for arm in arms if arm.role != "student"][: MAX_NAMED // 2]
    chosen = [*teachers, *students[: MAX_NAMED - len(teachers)]]
    return [arm for arm in arms if arm in chosen]


def _left_out(arms: Sequence[Arm], named: Sequence[Arm]) -> list[str]:
    left = len(arms) - len(named)
    return [f"grey: {left} more arms, less accurate on the validation set"] if left else []


def _said_to_end(ended: Sequence[str], first: int) -> list[str]:
    names = ", ".join(ended) if len(ended) <= 4 else f"{len(ended)} arms"
    return [f"ended before epoch {first}: {shorten(names, 80)}"] if ended else []


def finish_epochs(panel: Axes, key: str, first: int, last: int, *, from_zero: bool = True) -> None:
    """Title and axes of a panel by epoch. from_zero: the axis of losses begins there if it shows the first epoch."""
    from matplotlib.ticker import MaxNLocator

    margin = 0.02 * (last - first + 1)
    panel.set_title(TITLES[key])
    panel.set_xlabel("Epoch")
    panel.set_xlim(first - margin, last + margin)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    if key.endswith("loss") and first == 1 and from_zero:
        _scale_losses(panel)


def draw_arm(panel: Axes, arm: Arm, curves: Curves, key: str, style: ArmStyle, first: int = 1) -> float | None:
    """Draw the mean over seeds of one arm, with the range as a band; returns its last finite mean."""
    colour, line, marker = style
    per_seed = {seed: epoch_values(curves[arm.name, seed], key, first) for seed in _seeds(arm, curves)}
    last = max((max(values, default=0) for values in per_seed.values()), default=0)
    epochs = [e for e in range(1, last + 1) if any(e in values for values in per_seed.values())]
    if not epochs:
        return None
    columns = [[values[e] for values in per_seed.values() if e in values] for e in epochs]
    means = [mean(column) for column in columns]
    panel.plot(epochs, means, color=colour, linestyle=line, zorder=3, label=arm.name)
    if not marker:
        return means[-1]
    if len(per_seed) > 1:
        low, high = [min(c) for c in columns], [max(c) for c in columns]
        panel.fill_between(epochs, low, high, color=colour, alpha=0.13, linewidth=0, zorder=2)
    selected: dict[int, list[float]] = {}
    for learner in arm.learners:
        values = per_seed.get(learner["seed"], {})
        if learner.get("chosen_epoch") in values:
            selected.setdefault(learner["chosen_epoch"], []).append(values[learner["chosen_epoch"]])
        if learner.get("failure") and values:
            end = max(values)
            panel.plot([end], [values[end]], "x", color=colour, markersize=6, markeredgewidth=1.6, zorder=5)
    for epoch, values in selected.items():
        panel.plot(
            [epoch], [mean(values)], marker, color=colour, markeredgecolor="white", markeredgewidth=0.5, zorder=4
        )
    return means[-1]


def epoch_values(rows: Sequence[Mapping[str, Any]], key: str, first: int) -> dict[int, float]:
    """Finite values by epoch, accuracies in percent."""
    scale = 100.0 if key.endswith("accuracy") else 1.0
    values = {int(row["epoch"]): row.get(key) for row in rows if int(row["epoch"]) >= first}
    return {e: v * scale for e, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


def _scale_losses(panel: Axes) -> None:
    """A logarithmic axis if an early spike would flatten the rest, else an axis from 0."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    heights = [float(y) for line in panel.get_lines() for y in line.get_ydata()]  # pyright: ignore
    if heights and min(heights) > 0 and max(heights) > 12 * min(heights):
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    elif heights and min(heights) >= 0:
        panel.set_ylim(bottom=0)


def _label_ends(panel: Axes, ends: Sequence[tuple[float, str, str]], height: float) -> None:
    """Put the name of each arm at the end of its validation curve, without overlaps. height: of the panel, inches."""
    low, high = panel.get_ylim()
    is_log = panel.get_yscale() == "log"

    def place_of(value: float) -> float:
        return math.log(value / low) / math.log(high / low) if is_log else (value - low) / (high - low)

    order = sorted(range(len(ends)), key=lambda i: ends[i][0])
    step = min(0.125 / height, 1 / max(1, len(ends)))  # a line of text as a share of the panel
    spread = _spread_out([place_of(ends[i][0]) for i in order], step)
    for i, place in zip(order, spread, strict=True):
        value, name, colour = ends[i]
        panel.annotate(
            shorten(name, 24),
            xy=(1.0, place_of(value)),
            xytext=(1.06, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=text_colour(colour),
            va="center",
            fontsize=7,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
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


def legend(arms: Sequence[Arm], keys: Sequence[str], curves: Curves) -> list[str]:
    """What lines and marks mean."""
    of_arms = [len(_seeds(arm, curves)) for arm in arms]
    seeds, up_to = max(of_arms), "up to " if min(of_arms) < max(of_arms) else ""
    parts = [f"line: mean of {up_to}{seeds} seeds, band: range" if seeds > 1 else "one seed (n = 1)"]
    if any(arm.role == "teacher" for arm in arms) and any(arm.role != "teacher" for arm in arms):
        parts.append("long dashes: teacher")
    parts.append("marker: selected epoch")
    if "train_loss" in keys:
        parts.append("training: each arm's own objective, not comparable between arms")
    if "train_accuracy" in keys:
        parts.append("training: on augmented images")
    if any(arm.failed for arm in arms):
        parts.append("×: failed, loss not finite")
    return parts

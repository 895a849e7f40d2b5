"""The trials of a sweep as a heat map of two axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limbeck.report.formatting import format_number
from limbeck.report.run_data import RunRecord, SweepRecord
from limbeck.report.statistics import mean

from .drawing import NAMES_OF_RUN_FIGURES, Drawing, Missing
from .style import ACCENT, TWO_COLUMNS, add_note, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_VALUES = 40


def draw_heat_maps(record: RunRecord) -> list[Drawing] | Missing:
    """For each swept arm, the mean validation top-1 by the first two axes that vary.

    Cells show the best value over all further axes. A solid frame marks the best trial, a dashed one the trial as
    written in the recipe.
    """
    sweep = record.sweep
    if sweep is None:
        return Missing("it is not a sweep")
    distinct = {axis: axis_values(sweep, axis) for axis in sweep.axes}
    axes = [axis for axis, found in distinct.items() if len(found) > 1][:2]
    if len(axes) < 2:
        return Missing("fewer than two axes vary")
    if max(len(distinct[axis]) for axis in axes) > MAX_VALUES:
        return Missing(f"an axis has more than {MAX_VALUES} values")
    arms = [arm for arm in sweep.swept if any(value is not None for value in measured(sweep, arm))]
    return [_drawing(sweep, arm, axes) for arm in arms] or Missing("no trial was measured yet")


def measured(sweep: SweepRecord, arm: str) -> list[float | None]:
    """The mean validation accuracy of each trial of an arm, in percent; None while it was not measured."""
    known = [sweep.accuracies(arm, number) for number in range(len(sweep.settings))]
    return [100 * mean(values) if values else None for values in known]


def _drawing(sweep: SweepRecord, arm: str, axes: Sequence[str]) -> Drawing:
    known = {number: value for number, value in enumerate(measured(sweep, arm)) if value is not None}
    best = sweep.best.get(arm, max(known, key=lambda number: known[number]))
    ends = [(word, n) for word, n in (("best", best), ("as written", sweep.standard)) if n in known]
    told = ", ".join(f"{word} {format_number(known[number])} % ({trial_text(sweep, number)})" for word, number in ends)
    alt = f"{arm}: validation top-1 accuracy by {axis_name(axes[0])} and {axis_name(axes[1])}; {told}"
    alt += f", worst {format_number(min(known.values()))} %."
    name = f"{arm}-trials" if arm in NAMES_OF_RUN_FIGURES else arm
    return Drawing(name, f"{arm}: trials of the sweep", alt, lambda: _figure(sweep, arm, axes))


def trial_text(sweep: SweepRecord, number: int) -> str:
    """The values of a trial on all axes, as in `temperature 4, lr 0.1`."""
    return ", ".join(f"{axis_name(axis)} {value_text(sweep.settings[number].get(axis))}" for axis in sweep.axes)


def axis_name(axis: str) -> str:
    """`temperature` of `students.*.loss.0.temperature`; three parts for weights in a list (`loss.0.weight`)."""
    parts = axis.split(".")
    return ".".join(parts[-3:]) if len(parts) > 2 and parts[-2].isdigit() and parts[-1] == "weight" else parts[-1]


def axis_values(sweep: SweepRecord, axis: str) -> list[Any]:
    """The different values of an axis: numbers ascending, others as they come."""
    distinct = {repr(value): value for trial in sweep.settings for value in [as_number(trial.get(axis))]}
    values = list(distinct.values())
    return sorted(values) if all(isinstance(value, float) for value in values) else values


def as_number(value: Any) -> Any:
    """Numbers as float, so that 1 and 1.0 are the same value of an axis."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _figure(sweep: SweepRecord, arm: str, axes: Sequence[str]) -> Figure:
    from matplotlib.patches import Rectangle

    rows, columns = (axis_values(sweep, axis) for axis in axes)
    cells = [[math.nan] * len(columns) for _ in rows]
    places: list[tuple[int, int]] = []
    for trial, value in zip(sweep.settings, measured(sweep, arm), strict=False):
        row, column = (_index(values, trial.get(axis)) for values, axis in zip((rows, columns), axes, strict=True))
        places.append((row, column))
        if value is not None:
            cells[row][column] = max(value, cells[row][column]) if math.isfinite(cells[row][column]) else value
    known = [value for row in cells for value in row if math.isfinite(value)]
    low, high = min(known), max(known)
    figure = new_figure(min(TWO_COLUMNS, 1.4 + 0.56 * len(columns)), 1.05 + 0.3 * len(rows))
    panel = figure.subplots()
    panel.grid(visible=False)
    image = panel.imshow(cells, cmap="cividis", vmin=low, vmax=max(high, low + 1e-9), aspect="auto")
    fontsize = 7 if len(columns) <= 11 else 4.5
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            dark = math.isfinite(value) and value < (low + high) / 2
            text, colour = (f"{value:.2f}" if math.isfinite(value) else "–"), "white" if dark else "black"
            panel.text(column, row, text, ha="center", va="center", color=colour, fontsize=fontsize)
    said: list[str] = []
    frames = ((sweep.best.get(arm), "-", "solid frame: best"), (sweep.standard, "--", "dashed frame: as written"))
    for number, line, meaning in frames:
        if number is not None:
            row, column = places[number]
            frame = Rectangle(
                (column - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor=ACCENT, linewidth=1.8, linestyle=line
            )
            panel.add_patch(frame)
            said.append(meaning)
    panel.set_xticks(range(len(columns)), [value_text(value) for value in columns])
    panel.set_yticks(range(len(rows)), [value_text(value) for value in rows])
    panel.set_ylabel(axis_name(axes[0]))
    panel.set_xlabel(axis_name(axes[1]))
    panel.set_title(f"{shorten(arm, 24)}: validation top-1 (%)")
    colours = figure.colorbar(image, ax=panel, shrink=0.9)
    colours.outline.set_visible(False)  # pyright: ignore
    if any(len(axis_values(sweep, axis)) > 1 for axis in sweep.axes if axis not in axes):
        said.append("each cell: the best over the other axes")
    add_note(figure, said)
    return figure


def _index(values: Sequence[Any], value: Any) -> int:
    return [repr(known) for known in values].index(repr(as_number(value)))


def value_text(value: Any) -> str:
    """A value of an axis as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)

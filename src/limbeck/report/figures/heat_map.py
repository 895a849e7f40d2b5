"""A heat map of two axes of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from limbeck.report.statistics import mean

from .style import render_figure


def draw_heat_map(result: Mapping[str, Any], arm: str) -> dict[str, bytes]:
    """`ARM.png` and `ARM.svg`: mean validation top-1 by the first two axes that vary; empty if fewer vary.

    Cells show the best value over all further axes. A solid frame marks the best trial, a dashed one the trial as
    written in the recipe.
    """
    axes = [axis for axis in result["axes"] if len(_values(result, axis)) > 1][:2]
    if len(axes) < 2:
        return {}
    return render_figure(arm, lambda: _figure(result, arm, axes), axes_grid=False)


def axis_name(axis: str) -> str:
    """`temperature` of `students.*.loss.0.temperature`; three parts for weights in a list (`loss.0.weight`)."""
    parts = axis.split(".")
    return ".".join(parts[-3:]) if len(parts) > 2 and parts[-2].isdigit() and parts[-1] == "weight" else parts[-1]


def _values(result: Mapping[str, Any], axis: str) -> list[Any]:
    distinct = {repr(value): value for trial in result["settings"] for value in [_number(trial[axis])]}
    values = list(distinct.values())
    return sorted(values) if all(isinstance(value, float) for value in values) else values


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _figure(result: Mapping[str, Any], arm: str, axes: list[str]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows, columns = (_values(result, axis) for axis in axes)
    cells = [[math.nan] * len(columns) for _ in rows]
    places: list[tuple[int, int]] = []
    for number, trial in enumerate(result["settings"]):
        row, column = (_index(values, trial[axis]) for values, axis in zip((rows, columns), axes, strict=True))
        places.append((row, column))
        values = result["validation"][arm][number]
        if values:
            value = 100 * mean(values)
            cells[row][column] = max(value, cells[row][column]) if math.isfinite(cells[row][column]) else value
    known = [value for row in cells for value in row if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    figure = Figure(figsize=(1.6 + 0.85 * len(columns), 1.3 + 0.5 * len(rows)), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(cells, cmap="cividis", vmin=low, vmax=max(high, low + 1e-9), aspect="auto")
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            dark = math.isfinite(value) and value < (low + high) / 2
            text = f"{value:.2f}" if math.isfinite(value) else "–"
            panel.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    for number, line in ((result["best"][arm], "-"), (result["standard"], "--")):
        if number is not None:
            row, column = places[number]
            frame = Rectangle(
                (column - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor="#D55E00", linewidth=2, ls=line
            )
            panel.add_patch(frame)
    panel.set_xticks(range(len(columns)), [value_text(value) for value in columns])
    panel.set_yticks(range(len(rows)), [value_text(value) for value in rows])
    panel.set_ylabel(axis_name(axes[0]))
    panel.set_xlabel(axis_name(axes[1]))
    panel.set_title(f"{arm}: validation top-1 (%)")
    figure.colorbar(image, ax=panel, shrink=0.9)
    return figure


def _index(values: list[Any], value: Any) -> int:
    return [repr(known) for known in values].index(repr(_number(value)))


def value_text(value: Any) -> str:
    """A value of an axis as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)

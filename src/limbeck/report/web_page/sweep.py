"""The trials of a sweep: a table of all, and a heat map that fills while the sweep goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from limbeck.report.figures.heat_map import axis_name, value_text
from limbeck.report.formatting import DASH, format_spread
from limbeck.report.run_data import SweepRecord
from limbeck.report.statistics import mean

from .markup import escape, table_html

LOW, HIGH = (255, 255, 255), (120, 178, 222)
"""Colours of the lowest and the highest accuracy: black text is readable on both."""
MAX_TRIALS = 500


def sweep_html(sweep: SweepRecord) -> str:
    """For each swept arm, its heat map if two axes vary, and the table of its trials."""
    parts = []
    for arm in sweep.swept:
        values = sweep.validation.get(arm) or [()] * len(sweep.settings)
        done = sum(map(bool, values))
        so_far = f" ({done} of {len(sweep.settings)} so far)" if done < len(sweep.settings) else ""
        parts.append(f"<h3>{escape(arm)}{so_far}</h3>{_heat_map(sweep, arm, values)}{_trials(sweep, arm, values)}")
    if not sweep.swept:
        parts.append(f"<p>{len(sweep.settings)} trials; none has been measured yet.</p>")
    return "".join(parts)


def _heat_map(sweep: SweepRecord, arm: str, values: Sequence[Sequence[float]]) -> str:
    distinct = {axis: _distinct([trial.get(axis) for trial in sweep.settings]) for axis in sweep.axes}
    axes = [axis for axis, found in distinct.items() if len(found) > 1][:2]
    if len(axes) < 2 or max(len(distinct[axis]) for axis in axes) > 40:
        return ""
    cells: dict[tuple[str, str], list[int]] = {}
    for number, trial in enumerate(sweep.settings):
        cells.setdefault((repr(trial.get(axes[0])), repr(trial.get(axes[1]))), []).append(number)
    known = [mean(of_trial) for of_trial in values if of_trial]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    rows, columns = distinct[axes[0]], distinct[axes[1]]
    head = "".join(f'<th scope="col">{escape(value_text(column))}</th>' for column in columns)
    body = ""
    for row in rows:
        line = ""
        for column in columns:
            numbers = cells.get((repr(row), repr(column)), [])
            reached = [mean(values[number]) for number in numbers if number < len(values) and values[number]]
            if not reached:
                line += f'<td class="waiting">{"…" if numbers else DASH}</td>'
                continue
            share = (max(reached) - low) / (high - low) if high > low else 1.0
            chosen = sweep.best.get(arm) in numbers
            mark = ' <span class="mark">best</span>' if chosen else ""
            written = sweep.standard is not None and sweep.standard in numbers
            mark += ' <span class="mark">as written</span>' if written else ""
            line += f'<td style="background:{_colour(share)}">{100 * max(reached):.2f}{mark}</td>'
        body += f'<tr><th scope="row">{escape(value_text(row))}</th>{line}</tr>'
    first, second = (escape(axis_name(axis)) for axis in axes)
    caption = f"{escape(arm)}: validation top-1 (%), {first} down, {second} across"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Heat map of {escape(arm)}"><table class="heat">'
        f'<caption>{caption}</caption><thead><tr><th scope="col">{first} \\ {second}</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _trials(sweep: SweepRecord, arm: str, values: Sequence[Sequence[float]]) -> str:
    order = sorted(range(len(sweep.settings)), key=lambda n: -mean(values[n]) if values[n] else math.inf)
    ended = sweep.ended.get(arm) or [""] * len(sweep.settings)
    rows = [
        [
            str(number + 1),
            *(escape(value_text(sweep.settings[number].get(axis))) for axis in sweep.axes),
            format_spread([100 * value for value in values[number]]),
            escape(ended[number] or "waiting"),
        ]
        for number in order[:MAX_TRIALS]
    ]
    header = ["Trial", *(escape(axis_name(axis)) for axis in sweep.axes), "Validation top-1 (%)", "Ended"]
    return table_html(header, rows, f"{arm}: trials, best first")


def _distinct(values: Sequence[Any]) -> list[Any]:
    found = list({repr(value): value for value in values}.values())
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    return sorted(found) if numbers else found


def _colour(share: float) -> str:
    return "#" + "".join(f"{round(low + share * (high - low)):02x}" for low, high in zip(LOW, HIGH, strict=True))

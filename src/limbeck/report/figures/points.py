"""Accuracy, gain and retention of each arm: points with intervals, on axes that show the differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limbeck.report.arms import Arm, with_ensembles
from limbeck.report.comparisons import Comparison, compare
from limbeck.report.formatting import format_number, format_signed, format_spread
from limbeck.report.run_data import RunRecord

from .drawing import Drawing, Missing
from .intervals import OVER_IMAGES, OVER_SEEDS, Point, accuracy_point, point
from .style import (
    FAINT,
    ONE_COLUMN,
    TWO_COLUMNS,
    ArmStyle,
    add_note,
    arm_styles,
    fill,
    name_rows,
    new_figure,
    shorten,
    text_colour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_ROWS = 60
NOTHING_MEASURED = "no accuracy was measured"
FAR = 3.0
"""Teachers are off the scale where they would make it more than this many times as wide."""


@dataclass(frozen=True)
class _Row:
    arm: Arm
    accuracy: Point
    comparison: Comparison


def draw_arms(record: RunRecord) -> list[Drawing] | Missing:
    """The accuracy of each arm, and the gain of each student over its baseline."""
    rows = _rows(record)
    if not rows:
        return Missing(NOTHING_MEASURED)
    told = ", ".join(f"{row.arm.name} {format_spread(row.arm.values('test', 'top1', 100))} %" for row in rows)
    gains = [f"{r.arm.name} {format_signed(g.mean)}" for r in rows if (g := r.comparison.gain)]
    over = f" Gain over the baseline, in points: {', '.join(gains)}." if gains else ""
    alt = f"Top-1 accuracy on the {record.split} set: {told}.{over}"
    return [Drawing("arms", "Accuracy, and gain over the baseline", alt, lambda: _arms(record, rows))]


def draw_retention(record: RunRecord) -> list[Drawing] | Missing:
    """The share of its teacher's accuracy that each student retains."""
    found = {row.arm.name: kept for row in _rows(record) if (kept := point(row.comparison.retention))}
    rows = [row for row in _rows(record) if row.arm.name in found]
    if not rows:
        return Missing("no student was measured beside a teacher that is better than chance")
    told = ", ".join(f"{name} {format_number(kept.mean, 1)} %" for name, kept in found.items())
    alt = f"Retention, student accuracy as a share of teacher accuracy: {told}."
    return [Drawing("retention", "Retention of the teacher's accuracy", alt, lambda: _retention(record, rows, found))]


def _rows(record: RunRecord) -> list[_Row]:
    return [
        _Row(arm, accuracy, compare(arm, record.arms))
        for arm in with_ensembles(record.arms)
        if (accuracy := accuracy_point(arm))
    ]


def _arms(record: RunRecord, rows: Sequence[_Row]) -> Figure:
    shown, styles = rows[:MAX_ROWS], _styles(record, rows)
    gains = {row.arm.name: gain for row in shown if (gain := _gain(row))}
    figure = new_figure(TWO_COLUMNS if gains else 4.6, 0.85 + 0.19 * len(shown))
    panels: Sequence[Axes] = figure.subplots(1, 2 if gains else 1, squeeze=False, sharey=True)[0]
    _points(panels[0], shown, {row.arm.name: row.accuracy for row in shown}, styles, _limits(shown), format_number)
    panels[0].set_title(f"{record.split.capitalize()} top-1 accuracy (%)")
    name_rows(panels[0], [row.arm.name for row in shown])
    if gains:
        _points(panels[1], shown, gains, styles, None, format_signed, also=(0.0,))
        panels[1].axvline(0, color="#444444", linewidth=0.8, zorder=1)
        panels[1].set_title("Gain over the baseline (points)")
        panels[1].grid(visible=False, axis="y")
        panels[1].tick_params(labelleft=False)
        usual, others = _baselines(shown)
        panels[1].set_xlabel(f"against {shorten(usual, 40)}" + (", unless said" if others else ""))
        for place, row in enumerate(shown):
            if row.arm.name in others and row.arm.name in gains:
                vs = f"vs {shorten(others[row.arm.name], 14)}"
                panels[1].annotate(
                    vs, (1.02, place), (0, -6.5), ("axes fraction", "data"), "offset points", va="center",
                    fontsize=5.5, color=FAINT,
                )  # fmt: skip
    add_note(figure, _legend(shown, [*(row.accuracy for row in shown), *gains.values()], len(rows)))
    return figure


def _retention(record: RunRecord, rows: Sequence[_Row], found: Mapping[str, Point]) -> Figure:
    shown = rows[:MAX_ROWS]
    figure = new_figure(ONE_COLUMN + 0.6, 0.85 + 0.19 * len(shown))
    panel: Axes = figure.subplots()
    kept = {row.arm.name: found[row.arm.name] for row in shown}
    _points(panel, shown, kept, _styles(record, rows), None, lambda value: format_number(value, 1))
    low, high = panel.get_xlim()
    if low < 100 < high + 0.5 * (high - low):
        panel.axvline(100, color="#444444", linewidth=0.8, zorder=1)
        panel.set_xlim(low, max(high, 100 + 0.08 * (high - low)))
    panel.set_title("Retention (% of the teacher's accuracy)")
    name_rows(panel, [row.arm.name for row in shown])
    add_note(figure, _legend(shown, list(kept.values()), len(rows)))
    return figure


def _styles(record: RunRecord, rows: Sequence[_Row]) -> dict[str, ArmStyle]:
    return arm_styles([*record.arms, *(row.arm for row in rows if row.arm not in record.arms)])


def _gain(row: _Row) -> Point | None:
    """The gain with its interval over seeds; with one seed, over images where predictions were paired."""
    gain = row.comparison.gain
    if gain is None:
        return None
    values = tuple(row.comparison.gains)
    if gain.low is not None and gain.high is not None:
        return Point(gain.mean, gain.low, gain.high, values, OVER_SEEDS)
    over_images = list(row.comparison.over_images.values())
    if gain.n == 1 and len(over_images) == 1:
        return Point(gain.mean, *over_images[0], values, OVER_IMAGES)
    return point(values or [gain.mean])


def _limits(rows: Sequence[_Row]) -> tuple[float, float] | None:
    """The range of the students where teachers are so far away that differences between students would vanish."""
    students = [row.accuracy for row in rows if row.arm.role == "student"] or [row.accuracy for row in rows]
    low, high = min(min(p.low, *p.seeds) for p in students), max(max(p.high, *p.seeds) for p in students)
    all_high = max(row.accuracy.high for row in rows)
    all_low = min(row.accuracy.low for row in rows)
    span = max(high - low, 0.5)
    return (low - 0.06 * span, high + 0.06 * span) if all_high - all_low > FAR * span else None


def _points(
    panel: Axes,
    rows: Sequence[_Row],
    points: Mapping[str, Point],
    styles: Mapping[str, ArmStyle],
    limits: tuple[float, float] | None,
    number: Callable[[float], str],
    also: Sequence[float] = (),
) -> None:
    """Points with intervals, dots for seeds, and the number beside each row."""
    from matplotlib.ticker import MaxNLocator
    from matplotlib.transforms import blended_transform_factory

    margin = blended_transform_factory(panel.transAxes, panel.transData)
    if limits:
        panel.set_xlim(*limits)
    else:
        ends = [value for p in points.values() for value in (p.low, p.high, *p.seeds)] + [*also]
        low, high = min(ends), max(ends)
        span = max(high - low, 0.5)
        panel.set_xlim(low - 0.06 * span, high + 0.06 * span)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6))
    low, high = panel.get_xlim()
    for place, row in enumerate(rows):
        one, (colour, _, marker) = points.get(row.arm.name), styles[row.arm.name]
        if one is None:
            continue
        text = number(one.mean)
        panel.text(1.02, place, text, transform=margin, va="center", fontsize=7, color=text_colour(colour))
        if not low <= one.mean <= high:
            right = one.mean > high
            arrow = ">" if right else "<"
            panel.plot([1.0 if right else 0.0], [place], arrow, transform=margin, color=colour, clip_on=False, ms=4.5)
            continue
        if len(one.seeds) > 1:
            panel.plot(one.seeds, [place] * len(one.seeds), "|", color=colour, alpha=0.75, markersize=6, zorder=3)
        panel.plot([one.low, one.high], [place, place], color=colour, linewidth=1.2, linestyle=one.line, zorder=3)
        panel.plot(
            [one.mean], [place], marker, color=colour, markerfacecolor=fill(row.arm, colour), markersize=4.6, zorder=4
        )


def _baselines(rows: Sequence[_Row]) -> tuple[str, dict[str, str]]:
    """The baseline of most arms, and that of each arm that has another one."""
    names = {row.arm.name: row.comparison.baseline.name for row in rows if row.comparison.baseline}
    usual = max(sorted(set(names.values())), key=list(names.values()).count)
    return usual, {arm: name for arm, name in names.items() if name != usual}


def _legend(rows: Sequence[_Row], points: Sequence[Point], of: int) -> list[str]:
    parts = list(dict.fromkeys(one.kind for one in points if one.kind))
    if any(len(one.seeds) > 1 for one in points):
        parts.append("|: one seed")
    if any(row.arm.role != "student" for row in rows):
        parts.append("open marker: teacher")
    if any(row.arm.role != "student" for row in rows) and (found := _limits(rows)):
        low, high = found
        if any(not low <= row.accuracy.mean <= high for row in rows):
            parts.append("arrow: off the scale")
    if of > len(rows):
        parts.append(f"{of - len(rows)} more arms are not shown")
    return parts

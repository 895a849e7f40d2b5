"""What a model costs: its size, and its accuracy against parameters, multiply-adds and latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limbeck.report.arms import Arm, with_ensembles
from limbeck.report.comparisons import compare
from limbeck.report.formatting import format_number
from limbeck.report.run_data import RunRecord
from limbeck.report.statistics import mean

from .drawing import Drawing, Missing
from .intervals import Point, accuracy_point
from .style import BACKGROUND, FAINT, TWO_COLUMNS, ArmStyle, add_note, arm_styles, fill, name_rows, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_ROWS, MAX_NAMED = 40, 16
NOT_MEASURED = "no cost was measured (`evaluation.latency_batch` is 0, or nothing is finished)"


@dataclass(frozen=True)
class _Cost:
    metric: str
    name: str
    divisor: float
    text: Callable[[float], str]


def _short(value: float) -> str:
    return format_number(value, 2 if value < 10 else 1 if value < 100 else 0)


SIZES = (
    _Cost("parameters", "Parameters (millions)", 1e6, lambda value: format_number(value, 2 if value >= 0.1 else 3)),
    _Cost("megabytes", "Size (MB)", 1.0, _short),
    _Cost("multiply_adds", "Multiply-adds (millions)", 1e6, _short),
)
COSTS = (SIZES[0], SIZES[2], _Cost("image_ms_median", "Latency of one image (ms)", 1.0, _short))


def draw_size(record: RunRecord) -> list[Drawing] | Missing:
    """Parameters, megabytes and multiply-adds of each model, in bars from zero."""
    arms = [arm for arm in with_ensembles(record.arms) if arm.average("efficiency", "parameters")]
    if not arms:
        return Missing(NOT_MEASURED)
    smaller = {arm.name: ratio for arm in arms if (ratio := compare(arm, record.arms).compression)}
    told = [
        f"{arm.name} {format_number((arm.average('efficiency', 'parameters') or 0) / 1e6, 3)} million parameters"
        + (f", {format_number(smaller[arm.name], 1)} times fewer than its teacher" if arm.name in smaller else "")
        for arm in arms[:MAX_ROWS]
    ]
    return [Drawing("size", "Size", f"{'; '.join(told)}.", lambda: _size(record, arms, smaller))]


def _size(record: RunRecord, arms: Sequence[Arm], smaller: Mapping[str, float]) -> Figure:
    shown, styles = arms[:MAX_ROWS], arm_styles(with_ensembles(record.arms))
    figure = new_figure(TWO_COLUMNS, 0.8 + 0.19 * len(shown))
    panels: Sequence[Axes] = figure.subplots(1, 3, sharey=True)
    for panel, cost in zip(panels, SIZES, strict=True):
        values = {arm.name: value / cost.divisor for arm in shown if (value := arm.average("efficiency", cost.metric))}
        right = 1.32 * max(values.values(), default=1.0)
        for place, arm in enumerate(shown):
            if arm.name not in values:
                continue
            value = values[arm.name]
            colour = styles[arm.name].colour
            panel.barh(place, value, height=0.6, color=fill(arm, colour), edgecolor=colour, linewidth=1.1, zorder=2)
            ratio = f"  (÷ {format_number(smaller[arm.name], 1)})" if cost is SIZES[0] and arm.name in smaller else ""
            panel.text(value + 0.02 * right, place, cost.text(value) + ratio, va="center", fontsize=6.5)
        panel.set_xlim(0, right)
        panel.set_title(cost.name)
    name_rows(panels[0], [arm.name for arm in shown])
    for panel in panels:
        panel.grid(visible=False, axis="y")
    for panel in panels[1:]:
        panel.tick_params(labelleft=False)
    notes = ["÷: the teacher's parameters divided by the student's"] if smaller else []
    notes += ["open bar: teacher"] if any(arm.role != "student" for arm in shown) else []
    notes += [f"{len(arms) - len(shown)} more arms are not shown"] if len(arms) > len(shown) else []
    add_note(figure, notes)
    return figure


def draw_trade_off(record: RunRecord) -> list[Drawing] | Missing:
    """Accuracy against each cost, with the Pareto front: models than which none is both cheaper and more accurate."""
    points = {arm.name: p for arm in with_ensembles(record.arms) if (p := accuracy_point(arm))}
    arms = [arm for arm in with_ensembles(record.arms) if arm.name in points]
    costs = [cost for cost in COSTS if sum(arm.average("efficiency", cost.metric) is not None for arm in arms) > 1]
    if not costs:
        return Missing(NOT_MEASURED)
    told = [
        f"by {cost.name.partition(' (')[0].lower()}: {', '.join(front(_values(arms, cost), points))}" for cost in costs
    ]
    alt = f"Accuracy against cost. On the Pareto front {'; '.join(told)}."
    return [Drawing("trade-off", "Accuracy against cost", alt, lambda: _trade_off(record, arms, points, costs))]


def _values(arms: Sequence[Arm], cost: _Cost) -> dict[str, float]:
    """The cost of each arm that has one; of a latency, the mean over arms of the same model, which differ by noise."""
    found = {arm.name: v / cost.divisor for arm in arms if (v := arm.average("efficiency", cost.metric))}
    if cost.metric != "image_ms_median":
        return found
    alike: dict[tuple[Any, ...], list[str]] = {}
    for arm in arms:
        size = (arm.average("efficiency", metric) for metric in ("parameters", "megabytes", "multiply_adds"))
        alike.setdefault((arm.model, *size), []).append(arm.name)
    groups = [[name for name in names if name in found] for names in alike.values()]
    return {name: mean([found[other] for other in names]) for names in groups for name in names}


def front(costs: Mapping[str, float], points: Mapping[str, Point]) -> list[str]:
    """The names on the Pareto front, cheapest first: each is more accurate than all that cost no more."""
    chosen: list[str] = []
    for name in sorted(costs, key=lambda name: (costs[name], -points[name].mean)):
        if not chosen or points[name].mean > points[chosen[-1]].mean:
            chosen.append(name)
    return chosen


def _trade_off(record: RunRecord, arms: Sequence[Arm], points: Mapping[str, Point], costs: Sequence[_Cost]) -> Figure:
    styles = arm_styles(with_ensembles(record.arms))
    fronts = {cost: front(_values(arms, cost), points) for cost in costs}
    on_a_front = dict.fromkeys(name for names in fronts.values() for name in names)
    named = [arm.name for arm in arms] if len(arms) <= MAX_NAMED else list(on_a_front)[:MAX_NAMED]
    figure = new_figure(TWO_COLUMNS, max(2.4, 0.5 + 0.14 * len(named)))
    panels: Sequence[Axes] = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for panel, cost in zip(panels, costs, strict=True):
        _panel(panel, arms, points, cost, styles, named, fronts[cost])
    panels[0].set_ylabel(f"{record.split.capitalize()} top-1 accuracy (%)")
    handles = {str(line.get_label()): line for panel in panels for line in panel.get_lines()}
    figure.legend(
        [handles[name] for name in named if name in handles],
        [shorten(name, 22) for name in named if name in handles],
        loc="outside right upper", handlelength=1, labelspacing=0.35,
    )  # fmt: skip
    kinds = dict.fromkeys(points[arm.name].kind for arm in arms if points[arm.name].kind)
    more = f"grey: {len(arms) - len(named)} more arms" if len(named) < len(arms) else ""
    same_model = "latency: mean over arms of the same model" if len(arms) > len({arm.model for arm in arms}) else ""
    add_note(figure, ["line: Pareto front", "open marker: teacher", *kinds, same_model, more])
    return figure


def _panel(
    panel: Axes,
    arms: Sequence[Arm],
    points: Mapping[str, Point],
    cost: _Cost,
    styles: Mapping[str, ArmStyle],
    named: Sequence[str],
    on_front: Sequence[str],
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = _values(arms, cost)
    xs, ys = [values[name] for name in on_front], [points[name].mean for name in on_front]
    panel.plot(xs, ys, color=FAINT, linewidth=0.9, drawstyle="steps-post", zorder=1)
    for arm in sorted(arms, key=lambda arm: arm.name in named):
        if arm.name not in values:
            continue
        p, (colour, _, marker) = points[arm.name], styles[arm.name]
        colour = colour if arm.name in named else BACKGROUND
        panel.plot([values[arm.name]] * 2, [p.low, p.high], color=colour, linewidth=0.9, linestyle=p.line, zorder=2)
        panel.plot(
            [values[arm.name]], [p.mean], marker, color=colour, markerfacecolor=fill(arm, colour), markersize=4.8,
            linestyle="none", label=arm.name, zorder=3,
        )  # fmt: skip
    panel.set_xscale("log")
    low, high = min(values.values()), max(values.values())
    reach = max((high / low) ** 0.08, 1.15)
    panel.set_xlim(low / reach, high * reach)
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,), numticks=8))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(cost.name)

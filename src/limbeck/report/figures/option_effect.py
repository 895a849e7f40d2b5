"""The effect of one option over its values: of arms that differ in nothing else, or of the trials of a sweep."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limbeck.report.formatting import format_number
from limbeck.report.options import ABSENT, OneOption, Options, differing, one_option_apart
from limbeck.report.run_data import RunRecord, SweepRecord

from .curves import draw_arm, finish_epochs, with_curves
from .drawing import Drawing, Missing, name_part
from .heat_map import axis_name, axis_values, value_text
from .intervals import Point, accuracy_point, point
from .style import (
    COLOURS,
    MARKERS,
    ONE_COLUMN,
    TWO_COLUMNS,
    ArmStyle,
    add_note,
    arm_styles,
    new_figure,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_FIGURES, MAX_SERIES, MAX_CURVES, MAX_GREY_LINES = 8, len(COLOURS), len(COLOURS), 3


@dataclass(frozen=True)
class _Series:
    """Points over the values of the option, with everything else as `label` says. arms: none of a sweep's trials."""

    label: str
    points: Mapping[str, Point]
    arms: Mapping[str, str]


@dataclass(frozen=True)
class _Effect:
    """option: flat name. values: as text, in order. what: the accuracy that the points show."""

    option: str
    values: tuple[str, ...]
    series: tuple[_Series, ...]
    what: str


def draw_effects(record: RunRecord) -> list[Drawing] | Missing:
    """One figure for each option in which arms or trials differ alone."""
    effects = [*_of_sweep(record.sweep), *_of_arms(record)] if record.sweep else _of_arms(record)
    names: list[str] = []
    drawings: list[Drawing] = []
    for effect in effects[:MAX_FIGURES]:
        name = f"effect-{name_part(effect.option)}"
        names.append(name)
        name += f"-{names.count(name)}" if names.count(name) > 1 else ""
        title = f"Effect of {effect.option}"
        drawings.append(Drawing(name, title, _alt(effect), lambda effect=effect: _figure(record, effect)))
    return drawings or Missing("no two arms differ in one option alone")


def _alt(effect: _Effect) -> str:
    told: list[str] = []
    for one in effect.series[:3]:
        values = ", ".join(f"{value}: {format_number(p.mean)} %" for value, p in one.points.items())
        told.append(f"{one.label}: {values}" if one.label else values)
    return f"{effect.what[0].upper()}{effect.what[1:]} by {effect.option}. {'; '.join(told)}."


def _of_arms(record: RunRecord) -> list[_Effect]:
    found: list[_Effect] = []
    for role in ("student", "teacher"):
        points = {arm.name: p for arm in record.arms if arm.role == role and (p := accuracy_point(arm))}
        options = comparable({name: record.options[name] for name in points if name in record.options})
        by_name: dict[str, list[OneOption]] = {}
        for group in one_option_apart(options):
            by_name.setdefault(group.name, []).append(group)
        for option, groups in by_name.items():
            largest_first = sorted(groups, key=lambda group: -len(group.arms))[:MAX_SERIES]
            rest = {group.arms: {k: v for k, v in options[group.arms[0]].items() if k != option} for group in groups}
            labels = _labels([rest[group.arms] for group in largest_first])
            values = _in_order(largest_first)
            series: list[_Series] = []
            for label, group in zip(labels, largest_first, strict=True):
                by_value = {option_text(value): arm for value, arm in zip(group.values, group.arms, strict=True)}
                arms = {value: by_value[value] for value in values if value in by_value}
                series.append(_Series(label, {value: points[arm] for value, arm in arms.items()}, arms))
            found.append(_Effect(option, values, tuple(series), f"{record.split} top-1 accuracy"))
    return sorted(found, key=lambda effect: -sum(len(one.points) for one in effect.series))


def comparable(options: Mapping[str, Options]) -> dict[str, Options]:
    """The options of arms so that what a person calls one option is one.

    The weight of a single teacher has no effect and is left out. A section that arms have alike or not at all, such as
    `views.mixing`, becomes one option that is on or absent.
    """
    plain = {
        arm: {
            name: value
            for name, value in of_arm.items()
            if not (name.startswith("teacher.") and _is_one(of_arm.get("teacher")))
        }
        for arm, of_arm in options.items()
    }
    sections = dict.fromkeys(name.rpartition(".")[0] for of_arm in plain.values() for name in of_arm if "." in name)
    for section in [name for name in sections if not name.startswith(("loss", "teacher", "model"))]:
        contents = [
            {name: value for name, value in of_arm.items() if name.startswith(f"{section}.")}
            for of_arm in plain.values()
        ]
        with_it = [content for content in contents if content]
        if len(with_it) < len(contents) and all(content == with_it[0] for content in with_it):
            for of_arm, content in zip(plain.values(), contents, strict=True):
                for name in content:
                    del of_arm[name]
                if content:
                    of_arm[section] = True
    return plain


def _is_one(teachers: Any) -> bool:
    return isinstance(teachers, list | tuple) and len(teachers) == 1


def _in_order(groups: Sequence[OneOption]) -> tuple[str, ...]:
    values = {option_text(value): value for group in groups for value in group.values}
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values())
    return tuple(sorted(values, key=lambda text: values[text] if numbers else text != "off"))


def _labels(rests: Sequence[Options]) -> list[str]:
    """What tells series apart: the options in which they differ."""
    names = differing({str(number): rest for number, rest in enumerate(rests)})
    return [
        shorten(", ".join(f"{name.rpartition('.')[2]} {option_text(rest.get(name, ABSENT))}" for name in names), 34)
        for rest in rests
    ]


def option_text(value: Any) -> str:
    """A value of an option as text: `on`, `off` for switches and absent ones, `4` for 4.0, names joined."""
    if value is ABSENT or value is False:
        return "off"
    if value is True:
        return "on"
    if isinstance(value, list | tuple):
        return shorten(" + ".join(map(option_text, value)), 20)
    return shorten(value_text(value), 20)


def _of_sweep(sweep: SweepRecord) -> list[_Effect]:
    found: list[_Effect] = []
    varying = [axis for axis in sweep.axes if len(axis_values(sweep, axis)) > 1]
    for axis, arm in itertools.product(varying, sweep.swept):
        measured = list(sweep.validation.get(arm) or ())
        others = [other for other in varying if other != axis]
        series: dict[str, dict[str, Point]] = {}
        for setting, values in zip(sweep.settings, measured, strict=False):
            p = point([100 * value for value in values if value is not None])
            if p is not None:
                label = ", ".join(f"{axis_name(one)} {option_text(setting.get(one))}" for one in others)
                series.setdefault(label, {})[option_text(setting.get(axis))] = p
        if len(series) > MAX_SERIES:
            series = {"best over the other axes": _best(series)}
        values = tuple(dict.fromkeys(option_text(value) for value in axis_values(sweep, axis)))
        if sum(len(points) > 1 for points in series.values()):
            name = axis_name(axis) if len(sweep.swept) == 1 else f"{axis_name(axis)} ({arm})"
            of_axis = tuple(_Series(label, points, {}) for label, points in series.items())
            found.append(_Effect(name, values, of_axis, "validation top-1 accuracy"))
    return found


def _best(series: Mapping[str, Mapping[str, Point]]) -> dict[str, Point]:
    best: dict[str, Point] = {}
    for points in series.values():
        for value, p in points.items():
            best[value] = max(best.get(value, p), p, key=lambda one: one.mean)
    return best


def _figure(record: RunRecord, effect: _Effect) -> Figure:
    logged = {arm.name for arm in with_curves(record)}
    longest = max(effect.series, key=lambda one: len(one.points))
    curves = {value: arm for value, arm in longest.arms.items() if arm in logged}
    has_curves = 1 < len(curves) <= MAX_CURVES and len(effect.series) <= MAX_GREY_LINES
    figure = new_figure(TWO_COLUMNS if has_curves else ONE_COLUMN + 0.5, 2.3)
    panels: Sequence[Axes] = figure.subplots(1, 3 if has_curves else 1, squeeze=False)[0]
    styles = _value_styles(record, effect, longest)
    _values_panel(panels[0], effect, styles)
    kinds = dict.fromkeys(p.kind for one in effect.series for p in one.points.values() if p.kind)
    notes = [*kinds] or ["one seed for each value: no intervals"]
    if has_curves:
        for panel, key in zip(panels[1:], ("validation_loss", "validation_accuracy"), strict=True):
            _curves_panel(panel, record, curves, styles, key)
        panels[2].legend(
            *_handles(panels[2], curves), loc="lower right", handlelength=1.4, borderpad=0.2, labelspacing=0.25
        )
        notes += [f"curves: {longest.label}" if longest.label else "", "marker: selected epoch"]
    add_note(figure, notes)
    return figure


def _handles(panel: Axes, curves: Mapping[str, str]) -> tuple[list[Any], list[str]]:
    by_arm = {str(line.get_label()): line for line in panel.get_lines()}
    return [by_arm[arm] for arm in curves.values() if arm in by_arm], [v for v, arm in curves.items() if arm in by_arm]


def _value_styles(record: RunRecord, effect: _Effect, longest: _Series) -> dict[str, ArmStyle]:
    """Of each arm that is drawn; arms of one series may share a colour elsewhere, so they get colours in order."""
    usual = arm_styles(record.arms)
    drawn = [usual[arm] for arm in longest.arms.values() if arm in usual]
    if len({style.colour for style in drawn}) == len(drawn):
        return {arm: usual[arm] for one in effect.series for arm in one.arms.values()}
    return {
        arm: ArmStyle(COLOURS[place % len(COLOURS)], "solid", MARKERS[place % len(MARKERS)])
        for one in effect.series
        for place, arm in enumerate(one.arms.values())
    }


def _values_panel(panel: Axes, effect: _Effect, styles: Mapping[str, ArmStyle]) -> None:
    several = len(effect.series) > 1
    for number, one in enumerate(effect.series):
        shift = 0.0 if not several else min(0.08 * len(effect.series), 0.6) * (number / (len(effect.series) - 1) - 0.5)
        places = [effect.values.index(value) + shift for value in one.points]
        line = ("solid", (0, (5, 2)), (0, (1, 1.2)))[number % 3]
        is_grey = bool(one.arms) and len(effect.series) <= MAX_GREY_LINES  # then arms have their own colours
        colour = "#8A8A8A" if is_grey else COLOURS[number % len(COLOURS)]
        panel.plot(places, [p.mean for p in one.points.values()], color=colour, linestyle=line, label=one.label, lw=1)
        for place, (value, p) in zip(places, one.points.items(), strict=True):
            own = styles.get(one.arms.get(value, "")) if is_grey else None
            style = own or ArmStyle(colour, line, MARKERS[number % len(MARKERS)])
            panel.plot([place, place], [p.low, p.high], color=style.colour, linestyle=p.line, linewidth=1.1)
            panel.plot([place], [p.mean], style.marker, color=style.colour, markersize=4.4, zorder=4)
    panel.set_xticks(range(len(effect.values)), [shorten(value, 14) for value in effect.values])
    panel.set_xlim(-0.5, len(effect.values) - 0.5)
    panel.grid(visible=False, axis="x")
    panel.set_xlabel(shorten(effect.option, 34))
    panel.set_title(f"{effect.what[0].upper()}{effect.what[1:].replace(' accuracy', '')} (%)")
    if several and all(one.label for one in effect.series):
        panel.legend(fontsize=6, handlelength=1.8, labelspacing=0.25, borderpad=0.2)
        panel.margins(y=0.2)


def _curves_panel(
    panel: Axes, record: RunRecord, curves: Mapping[str, str], styles: Mapping[str, ArmStyle], key: str
) -> None:
    arms = {arm.name: arm for arm in with_curves(record)}
    last = 1
    for arm in curves.values():
        style = styles[arm]._replace(line="solid")
        draw_arm(panel, arms[arm], record.curves, key, style)
        last = max(last, *(len(rows) for (name, _), rows in record.curves.items() if name == arm))
    finish_epochs(panel, key, 1, last, from_zero=False)

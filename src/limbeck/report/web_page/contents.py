"""The sections of the page, from the records of one or several runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from limbeck.report import notes, tables, test_time
from limbeck.report.arms import Arm
from limbeck.report.budget import budget_table
from limbeck.report.comparisons import compare
from limbeck.report.findings import findings, pretrained_models
from limbeck.report.formatting import SETS
from limbeck.report.run_data import RunRecord, labels

from .curves import chart_data, roles_of
from .headline import headline, warnings
from .markup import disclosure, escape, inline, section, table_of
from .progress import progress_html
from .provenance import provenance_html, recipe_html
from .sweep import sweep_html

MAX_FIGURES_BYTES = 3_200_000
"""Figures beyond this are left in their files, so that a page has at most 5 MB."""
INTERACTIVE = ("accuracy", "loss", "last-epochs")
"""Figures whose place the charts take."""
TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Figure:
    """A figure of the page. alt: what it shows, for those who do not see it; its numbers are in tables."""

    name: str
    alt: str
    content: bytes


@dataclass(frozen=True)
class Contents:
    """title, state: of the page. sections: HTML by id, in the order of the page; empty ones too. charts: their data."""

    title: str
    state: str
    sections: Mapping[str, str]
    charts: Mapping[str, Any]


def contents_of(records: Sequence[RunRecord], figures: Sequence[Figure] = (), *, has_charts: bool) -> Contents:
    """The page of one run, or of a comparison of several.

    figures: static ones; those that charts replace are left out where `has_charts`.
    """
    names = labels(records) if len(records) > 1 else [""]
    arms = [arm for record, name in zip(records, names, strict=True) for arm in named_arms(record, name)]
    curves = {
        (_named(name, arm), seed): rows
        for record, name in zip(records, names, strict=True)
        for (arm, seed), rows in record.curves.items()
    }
    roles = [
        (_named(name, arm), role)
        for record, name in zip(records, names, strict=True)
        for arm, role in roles_of(record.arms, record.curves, record.measured_recipe)
    ]
    charts = chart_data(roles, curves)
    sections = {
        "summary": _each(records, names, _summary),
        "progress": section("progress", "Progress", _each(records, names, progress_html)),
        "sweep": section("sweep", "Trials of the sweep", _each(records, names, _sweep)),
        "results": _results(arms, records),
        "curves": section("curves", "Curves", _curves(charts, figures, has_charts)),
        "figures": section("figures", "Figures", _figures(figures, has_charts)),
        "classes": _classes(records, names),
        "recipe": section("recipe", "Recipe", _each(records, names, lambda one: _recipe(one))),
        "provenance": section("provenance", "How this was made", _each(records, names, provenance_html)),
        "notes": section("notes", "How to read the numbers", _each(records[:1], names[:1], _notes)),
    }
    title = " and ".join(record.name for record in records) if len(records) < 4 else f"{len(records)} runs compared"
    states = {record.state for record in records}
    return Contents(title, "finished" if states == {"finished"} else "unfinished", sections, charts)


def named_arms(record: RunRecord, run: str) -> list[Arm]:
    """The arms of a record, with the name of the run before theirs in a comparison of several."""
    if not run:
        return list(record.arms)
    return [
        replace(
            arm,
            name=_named(run, arm.name),
            teachers=tuple(_named(run, teacher) for teacher in arm.teachers),
            members=tuple(_named(run, member) for member in arm.members),
            baseline=_named(run, arm.baseline) if arm.baseline else None,
        )
        for arm in record.arms
    ]


def _named(run: str, arm: str) -> str:
    return f"{run}: {arm}" if run else arm


def _each(records: Sequence[RunRecord], names: Sequence[str], make: Any) -> str:
    """What `make` gives for each record, under the name of the run where there are several."""
    parts = [(name, make(record)) for record, name in zip(records, names, strict=True)]
    return "".join(f"<h3>{escape(name)}</h3>{part}" if name else part for name, part in parts if part)


def _summary(record: RunRecord) -> str:
    lines = "".join(f'<p class="notice">{escape(line)}</p>' for line in warnings(record))
    return f'{lines}<p class="lead">{" ".join(headline(record))}</p>'


def _sweep(record: RunRecord) -> str:
    return sweep_html(record.sweep) if record.sweep else ""


def _results(arms: Sequence[Arm], records: Sequence[RunRecord]) -> str:
    if not any(arm.values("test", "top1") for arm in arms):
        return ""
    split = SETS[records[0].split]
    parts = [
        table_of(tables.accuracy_table(arms), f"Accuracy on the {split}"),
        table_of(tables.comparison_table(arms), "Comparison with teacher and baseline"),
        table_of(tables.ensemble_table(arms), "Teacher ensembles"),
        table_of(tables.cost_table(arms), "Size and latency"),
        table_of(budget_table(arms), "Budget"),
        table_of(test_time.augmentation_table(arms), "Test-time augmentation"),
        disclosure("Results by seed", table_of(tables.seed_table(arms), "Results by seed")),
        disclosure("Every student in words", "".join(f"<p>{inline(line)}</p>" for line in findings(arms))),
        disclosure("Pretrained models", "".join(f"<p>{inline(line)}</p>" for line in pretrained_models(arms))),
    ]
    return section("results", "Results", "".join(parts))


def _curves(charts: Mapping[str, Any], figures: Sequence[Figure], has_charts: bool) -> str:
    if not charts["charts"]:
        return ""
    stride = charts["stride"]
    text = ""
    if stride > 1:
        text += f"<p>One of {stride} epochs is shown; cohorts/*/metrics holds all.</p>"
    if not has_charts:
        text += "<p>Charts need uPlot, which this installation lacks: <code>make web</code> brings it.</p>"
        text += _shown([one for one in figures if PurePath(one.name).stem in INTERACTIVE])
    else:
        text += '<div id="arms" class="arms" role="group" aria-label="Arms shown in the charts"></div>'
        text += (
            '<p class="hint">Point at a chart, or focus it and press ← and →, for the values of an epoch. '
            "Drag to zoom; double-click, or <kbd>Esc</kbd>, shows all.</p>"
            '<p><button type="button" id="late">Last epochs</button> '
            '<button type="button" id="all">All epochs</button></p>'
        )
    shown = "".join(
        f'<figure class="chart" data-chart="{one["id"]}"><figcaption>{escape(one["title"])}'
        f"{_unit(one)}</figcaption>"
        + ('<div class="plot"></div><p class="readout" aria-live="polite"></p>' if has_charts else "")
        + '<details><summary>Values as a table</summary><div class="values" tabindex="0"></div></details></figure>'
        for one in charts["charts"]
    )
    return f'{text}<div class="charts">{shown}</div>'


def _unit(chart: Mapping[str, Any]) -> str:
    words = [chart["unit"], "logarithmic" if chart["log"] else ""]
    return f" ({', '.join(filter(None, words))})" if any(words) else ""


def _figures(figures: Sequence[Figure], has_charts: bool) -> str:
    return _shown([one for one in figures if PurePath(one.name).stem not in INTERACTIVE or not has_charts])


def _shown(figures: Sequence[Figure]) -> str:
    """Figures as images in the page, the small ones first in line for the space that there is."""
    room, inside = MAX_FIGURES_BYTES, set[str]()
    for one in sorted(figures, key=lambda figure: len(figure.content)):
        room -= 4 * len(one.content) // 3
        if room >= 0:
            inside.add(one.name)
    shown = "".join(_image(one) for one in figures if one.name in inside)
    left = [one.name for one in figures if one.name not in inside]
    return shown + (f"<p>Too large for this page, in figures/: {escape(', '.join(left))}.</p>" if left else "")


def _image(figure: Figure) -> str:
    kind = TYPES[PurePath(figure.name).suffix]
    data = base64.b64encode(figure.content).decode()
    alt = escape(figure.alt)
    return f'<figure><img src="data:{kind};base64,{data}" alt="{alt}"><figcaption>{alt}</figcaption></figure>'


def _classes(records: Sequence[RunRecord], names: Sequence[str]) -> str:
    def of(record: RunRecord) -> str:
        arms, classes = record.arms, record.class_names
        return table_of(tables.class_table(arms, classes), "Hardest classes") + table_of(
            tables.confusion_table(arms, classes), "Most frequent confusions"
        )

    return section("classes", "Classes", _each(records, names, of))


def _recipe(record: RunRecord) -> str:
    return disclosure("The recipe with all defaults", recipe_html(record.recipe))


def _notes(record: RunRecord) -> str:
    if not any(compare(arm, record.arms) for arm in record.arms):
        return ""
    lines = notes.notes(record.result, record.arms).split("\n")
    items = "".join(f"<li>{inline(line.removeprefix('- '))}</li>" for line in lines)
    return f"<ul>{items}</ul>"

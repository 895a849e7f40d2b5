"""The page of a sweep: every setting on validation, a heat map where there are two axes, the chosen one on test."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.report.figures.heat_map import axis_name, draw_heat_map
from limbeck.storage.atomic import make_folder, replace, saying_where

from . import notes, tables
from .arms import arms_of
from .findings import findings
from .formatting import DASH, cell, duration, markdown_table
from .statistics import format_spread, mean
from .summary import terminal_width

MOST_ROWS = 200


def write_sweep_report(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write `report.md` and `figures/ARM.png|svg` into `folder`; returns the page's path.

    result: what `result.json` of a sweep says. Raises LimbeckError where the folder cannot be written.
    """
    figures: dict[str, bytes] = {}
    for arm in result["swept"]:
        figures |= draw_heat_map(result, arm)
    sections = [
        f"# {cell(notes.recipe_name(result))}: a sweep of {len(result['settings'])} settings",
        "\n\n".join(findings(arms_of(result["chosen"]))),
        _section("Chosen on validation", _chosen(result)),
        *(_section(f"{cell(arm)}: every setting", _every(result, arm, figures)) for arm in result["swept"]),
        _section("On the test split", tables.accuracy_table(arms_of(result["chosen"]))),
        _section("Beside the teacher and the baseline", tables.standing_table(arms_of(result["chosen"]))),
        _section("How to read this", _notes(result)),
    ]
    page = "\n\n".join(section for section in sections if section) + "\n"
    with saying_where(folder / "figures"):
        make_folder(folder / "figures")
    for name, content in figures.items():
        replace(folder / "figures" / name, content)
    replace(folder / "report.md", page.encode())
    return folder / "report.md"


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """What came out, in lines for a terminal, as wide as it is or 100 characters."""
    lines = []
    for arm in result["swept"]:
        best = result["best"][arm]
        tried = f"best of {len(result['settings'])} settings on validation"
        line = f"{arm}: {tried}: {_words(result, best)}, top-1 {_top1(result, arm, best)} %"
        lines += textwrap.wrap(line, terminal_width(), subsequent_indent="  ")
    return lines


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _words(result: Mapping[str, Any], number: int) -> str:
    setting = result["settings"][number]
    return ", ".join(f"{axis_name(axis)} {_value(setting[axis])}" for axis in result["axes"])


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _top1(result: Mapping[str, Any], arm: str, number: int) -> str:
    return format_spread([100 * value for value in result["validation"][arm][number]])


def _mean(result: Mapping[str, Any], arm: str, number: int) -> float:
    values = result["validation"][arm][number]
    return mean(values) if values else -math.inf


def _chosen(result: Mapping[str, Any]) -> str:
    rows = []
    for arm in result["swept"]:
        order = sorted(range(len(result["settings"])), key=lambda number: -_mean(result, arm, number))
        rows.append([f"{cell(arm)}, best", cell(_words(result, order[0])), _top1(result, arm, order[0])])
        if result["standard"] is not None:
            standard = result["standard"]
            rows.append([f"{cell(arm)}, as written", cell(_words(result, standard)), _top1(result, arm, standard)])
        rows.append([f"{cell(arm)}, worst", cell(_words(result, order[-1])), _top1(result, arm, order[-1])])
    for arm, values in result["validation"].items():
        if arm not in result["swept"]:
            rows.append([cell(arm), DASH, _top1(result, arm, 0) if values else DASH])
    return markdown_table(["arm", "setting", "validation top-1 %"], rows)


def _every(result: Mapping[str, Any], arm: str, figures: Mapping[str, bytes]) -> str:
    order: Sequence[int] = sorted(range(len(result["settings"])), key=lambda number: -_mean(result, arm, number))
    names = [cell(axis_name(axis)) for axis in result["axes"]]
    rows = [
        [str(place + 1), *(cell(_value(result["settings"][n][axis])) for axis in result["axes"]), _top1(result, arm, n)]
        for place, n in enumerate(order[:MOST_ROWS])
    ]
    table = markdown_table(["place", *names, "validation top-1 %"], rows)
    more = f"\n\nand {len(order) - MOST_ROWS} more in `result.json`" if len(order) > MOST_ROWS else ""
    image = f"![{cell(arm)} by setting](figures/{arm}.png)\n\n" if f"{arm}.png" in figures else ""
    return image + table + more


def _notes(result: Mapping[str, Any]) -> str:
    seeds = result["search_seeds"]
    tested = [arm["seed"] for arm in result["chosen"]["arms"]]
    work = duration(result.get("search_compute_seconds", result["search_seconds"]))
    lines = [
        f"- Settings were tried with seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))} and compared on "
        "validation images alone; the test split was read once, for the chosen setting, the setting as written and the "
        f"arms that no axis touches, with seeds {', '.join(map(str, sorted(set(tested))))}.",
        "- The best of many settings on validation is better there than it is: its test figure is the one to quote.",
        f"- The search took {work} of work; settings that see the same views shared each teacher's pass, and "
        "every one ended as it would have alone (bit for bit on a CPU).",
    ]
    if result["views_seed"] is not None:
        lines.append("- All seeds saw the same views (`views.seed`): their spread is over learners only.")
    return "\n".join(lines)

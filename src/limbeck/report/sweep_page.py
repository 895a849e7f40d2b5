"""The report of a sweep: all trials on the validation set, and the selected trial on the held-out test set."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.report.figures.catalogue import OF_A_SWEEP, draw_figures
from limbeck.report.figures.drawing import Drawing
from limbeck.report.figures.heat_map import axis_name, value_text
from limbeck.storage.atomic import make_folder

from . import notes, tables
from .arms import arms_of
from .budget import budget_table
from .findings import findings
from .formatting import DASH, SETS, cell, duration, format_spread, markdown_table, section
from .page import picture, write_page
from .run_data import Curves, RunRecord, read_run, record_of_result, sweep_of_result
from .statistics import mean
from .web_page.write import figures_of, write_index

MAX_ROWS = 200


def write_sweep_report(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write `report.md`, `index.html` and `figures/ARM.png` into `folder`; returns the path of `report.md`.

    result: as in `result.json` of a sweep. Raises LimbeckError if the folder cannot be written.
    """
    record = _record(folder, result)
    drawn = draw_figures(record, kinds=OF_A_SWEEP, formats=("png",))
    arms = arms_of(result["chosen"])
    sections = [
        f"# {cell(notes.recipe_name(result))}: sweep of {len(result['settings'])} trials",
        "\n\n".join(findings(arms)),
        section("Selected on the validation set", _selection_table(result)),
        *(section(f"{cell(arm)}: all trials", _trials(result, arm, drawn.drawings)) for arm in result["swept"]),
        section(f"Accuracy on the {SETS['test']}", tables.accuracy_table(arms)),
        section("Comparison with teacher and baseline", tables.comparison_table(arms)),
        section("Budget", budget_table(arms)),
        section("Notes", _notes(result)),
    ]
    make_folder(folder)
    write_index(folder, [record], figures_of(drawn.files, drawn.alts))
    return write_page(folder, sections, drawn.files)


def _record(folder: Path, result: Mapping[str, Any]) -> RunRecord:
    """The finished sweep as a record, with the curves of its final runs where they are on the disk."""
    curves: Curves = {}
    with contextlib.suppress(LimbeckError):
        curves = read_run(folder / "chosen").curves
    final = record_of_result(folder, result["chosen"], curves)
    return replace(final, recipe=result.get("recipe") or final.recipe, sweep=sweep_of_result(result))


def trial_text(result: Mapping[str, Any], number: int) -> str:
    """The values of a trial on all axes, as in `temperature 4, lr 0.1`."""
    trial = result["settings"][number]
    return ", ".join(f"{axis_name(axis)} {value_text(trial[axis])}" for axis in result["axes"])


def validation_top1(result: Mapping[str, Any], arm: str, number: int) -> str:
    """The validation top-1 accuracy of a trial in percent, with its spread over seeds."""
    return format_spread([100 * value for value in result["validation"][arm][number]])


def _ranked(result: Mapping[str, Any], arm: str) -> list[int]:
    """The numbers of all trials, best first."""
    means = [mean(values) if values else -math.inf for values in result["validation"][arm]]
    return sorted(range(len(result["settings"])), key=lambda number: -means[number])


def _selection_table(result: Mapping[str, Any]) -> str:
    rows = []
    for arm in result["swept"]:
        ranked = _ranked(result, arm)
        for name, number in (("best", ranked[0]), ("as written", result["standard"]), ("worst", ranked[-1])):
            if number is not None:
                row = [f"{cell(arm)}, {name}", cell(trial_text(result, number)), validation_top1(result, arm, number)]
                rows.append(row)
    for arm, values in result["validation"].items():
        if arm not in result["swept"]:
            rows.append([cell(arm), DASH, validation_top1(result, arm, 0) if values else DASH])
    return markdown_table(["Arm", "Trial", "Validation top-1 (%)"], rows)


def _trials(result: Mapping[str, Any], arm: str, drawings: Sequence[Drawing]) -> str:
    ranked, axes = _ranked(result, arm), result["axes"]
    rows = [
        [
            str(rank),
            *(cell(value_text(result["settings"][number][axis])) for axis in axes),
            validation_top1(result, arm, number),
        ]
        for rank, number in enumerate(ranked[:MAX_ROWS], 1)
    ]
    table = markdown_table(["Rank", *(cell(axis_name(axis)) for axis in axes), "Validation top-1 (%)"], rows)
    rest = f"\n\n{len(ranked) - MAX_ROWS} more trials are in `result.json`." if len(ranked) > MAX_ROWS else ""
    images = "".join(f"{picture(drawing)}\n\n" for drawing in drawings if drawing.name in (arm, f"{arm}-trials"))
    return images + table + rest


def _notes(result: Mapping[str, Any]) -> str:
    searched, tested = result["search_seeds"], sorted({arm["seed"] for arm in result["chosen"]["arms"]})
    seconds = duration(result.get("search_compute_seconds", result["search_seconds"]))
    lines = [
        f"- Trials were run with seed{'s' if len(searched) > 1 else ''} {', '.join(map(str, searched))} and compared "
        "on the validation set only. The held-out test set was evaluated once, for the selected trial, the trial as "
        f"written in the recipe, and the arms that no axis changes, with seeds {', '.join(map(str, tested))}.",
        "- The validation accuracy of the best of many trials is biased upwards by the selection: quote its test "
        "accuracy.",
        f"- The search took {seconds} of compute time. Trials with the same views shared one teacher pass per batch; "
        "each gives the same result as on its own (bit for bit on a CPU).",
    ]
    if result["views_seed"] is not None:
        lines.append("- `views.seed` is set: all seeds saw the same views; the spread is over the models only.")
    return "\n".join(lines)

"""The report of a sweep: all trials on the validation set, and the selected trial on the held-out test set."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.report import tables
from limbeck.report.budget import budget_table
from limbeck.report.figures.catalogue import FIGURES, OF_A_SWEEP, draw_figures
from limbeck.report.figures.drawing import Drawing, FigureKind
from limbeck.report.figures.heat_map import axis_name, trial_text, value_text
from limbeck.report.figures.style import FORMATS
from limbeck.report.findings import findings
from limbeck.report.formatting import DASH, SETS, cell, duration, format_spread, markdown_table, section
from limbeck.report.page import links, picture, state_notes, write_page
from limbeck.report.run_data import Curves, RunRecord, SweepRecord, read_run, record_of_sweep_result
from limbeck.report.table_files.write import tables_of

MAX_ROWS = 200


def write_sweep_report(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write the report of a sweep that has just ended, with its heat maps as PNG; returns the path of `report.md`.

    result: as in `result.json` of a sweep. Raises LimbeckError if the folder cannot be written.
    """
    curves: Curves = {}  # of the final runs, where they are on the disk
    with contextlib.suppress(LimbeckError):
        curves = read_run(folder / "chosen").curves
    record = record_of_sweep_result(folder, result, curves)
    return write_report_of_trials(folder, record, kinds=OF_A_SWEEP, formats=("png",))


def write_report_of_trials(
    folder: Path, record: RunRecord, *, kinds: Sequence[FigureKind] = FIGURES, formats: Sequence[str] = FORMATS
) -> Path:
    """Write `report.md`, `index.html`, `tables/` and `figures/` of a sweep, which may still go on, into `folder`.

    kinds, formats: of the figures. Returns the path of `report.md`. Raises LimbeckError if the folder cannot be
    written.
    """
    sweep, arms = record.sweep, record.arms
    assert sweep is not None
    drawn = draw_figures(record, kinds=kinds, formats=formats)
    of_trials = {f"{arm}{ending}" for arm in sweep.swept for ending in ("", "-trials")}
    others = [drawing for drawing in drawn.drawings if drawing.name not in of_trials]
    written = tables_of(record)
    sections = [
        f"# {cell(record.name)}: sweep of {len(sweep.settings)} trials",
        state_notes(record),
        "\n\n".join(findings(arms)),
        section("Selected on the validation set", _selection_table(sweep)),
        *(section(f"{cell(arm)}: all trials", _trials(sweep, arm, drawn.drawings)) for arm in sweep.swept),
        section(f"Accuracy on the {SETS[record.split]}", tables.accuracy_table(arms)),
        section("Comparison with teacher and baseline", tables.comparison_table(arms)),
        section("Budget", budget_table(arms)),
        section("Figures", "\n\n".join(map(picture, others))),
        section("Tables", links(written)),
        section("Notes", _notes(record, sweep)),
    ]
    return write_page(folder, sections, [record], written, drawn)


def validation_top1(sweep: SweepRecord, arm: str, number: int) -> str:
    """The validation top-1 accuracy of a trial in percent, with its spread over seeds."""
    return format_spread([100 * value for value in sweep.accuracies(arm, number)])


def _selection_table(sweep: SweepRecord) -> str:
    rows = []
    for arm in sweep.swept:
        ranked = sweep.ranked(arm)
        for name, number in (("best", ranked[0]), ("as written", sweep.standard), ("worst", ranked[-1])):
            if number is not None:
                row = [f"{cell(arm)}, {name}", cell(trial_text(sweep, number)), validation_top1(sweep, arm, number)]
                rows.append(row)
    for arm, values in sweep.validation.items():
        if arm not in sweep.swept:
            rows.append([cell(arm), DASH, validation_top1(sweep, arm, 0) if values else DASH])
    return markdown_table(["Arm", "Trial", "Validation top-1 (%)"], rows)


def _trials(sweep: SweepRecord, arm: str, drawings: Sequence[Drawing]) -> str:
    ranked, axes = sweep.ranked(arm), sweep.axes
    rows = [
        [
            str(rank),
            *(cell(value_text(sweep.settings[number].get(axis))) for axis in axes),
            validation_top1(sweep, arm, number),
        ]
        for rank, number in enumerate(ranked[:MAX_ROWS], 1)
    ]
    table = markdown_table(["Rank", *(cell(axis_name(axis)) for axis in axes), "Validation top-1 (%)"], rows)
    rest = f"\n\n{len(ranked) - MAX_ROWS} more trials are in `result.json`." if len(ranked) > MAX_ROWS else ""
    images = "".join(f"{picture(drawing)}\n\n" for drawing in drawings if drawing.name in (arm, f"{arm}-trials"))
    return images + table + rest


def _notes(record: RunRecord, sweep: SweepRecord) -> str:
    if not sweep.best:
        return "- Trials are compared on the validation set only. The test set is read at the end, for those selected."
    searched, tested = sweep.search_seeds, sorted({row["seed"] for arm in record.arms for row in arm.learners})
    lines = [
        f"- Trials were run with seed{'s' if len(searched) > 1 else ''} {', '.join(map(str, searched))} and compared "
        "on the validation set only. The held-out test set was evaluated once, for the selected trial, the trial as "
        f"written in the recipe, and the arms that no axis changes, with seeds {', '.join(map(str, tested))}.",
        "- The validation accuracy of the best of many trials is biased upwards by the selection: quote its test "
        "accuracy.",
    ]
    if sweep.search_seconds is not None:
        lines.append(
            f"- The search took {duration(sweep.search_seconds)} of compute time. Trials with the same views shared "
            "one teacher pass per batch; each gives the same result as on its own (bit for bit on a CPU)."
        )
    views = record.measured_recipe.get("views")
    if isinstance(views, Mapping) and views.get("seed") is not None:
        lines.append("- `views.seed` is set: all seeds saw the same views; the spread is over the models only.")
    return "\n".join(lines)

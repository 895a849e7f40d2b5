"""The report of a run: one Markdown page with findings, tables, figures and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.report.figures.bars import draw_bars
from limbeck.report.figures.curves import Curves, draw_curves
from limbeck.report.figures.teacher_graph import teacher_graph
from limbeck.storage.atomic import make_folder, write_file

from . import notes, tables, test_time
from .arms import Arm, arms_of, reported_split
from .budget import budget_table
from .chains import chain_table
from .findings import failure_line, findings, pretrained_models
from .formatting import SETS, cell, section
from .run_data import record_of_result
from .web_page.write import figures_of, write_index

FIGURES = {
    "arms": "accuracy and retention of each arm",
    "accuracy": "accuracy by epoch",
    "loss": "loss by epoch",
    "last-epochs": "loss and accuracy of the last epochs",
}


def write_report(folder: Path, result: Mapping[str, Any], curves: Curves) -> Path:
    """Write `report.md`, `index.html` and `figures/*.png|svg` into `folder`; returns the path of `report.md`.

    result: as in `result.json`. curves: one row of metrics per epoch, by (arm, seed). Each file is replaced
    atomically, the page last. Raises LimbeckError if the folder cannot be written.
    """
    arms = arms_of(result)
    title = notes.recipe_name(result)
    figures = draw_bars(arms, title) | draw_curves(arms, curves, title)
    make_folder(folder)
    record = record_of_result(folder, result, curves)  # pyright: ignore[reportArgumentType]
    write_index(folder, [record], figures_of(figures, FIGURES))
    return write_page(folder, _sections(result, arms, [name for name in figures if name.endswith(".png")]), figures)


def write_page(folder: Path, sections: Sequence[str], figures: Mapping[str, bytes]) -> Path:
    """Write the sections that are not empty as `report.md`, and the figures by file name into `figures/`."""
    page = "\n\n".join(part for part in sections if part) + "\n"
    make_folder(folder / "figures")
    for name, content in figures.items():
        write_file(folder / "figures" / name, content)
    write_file(folder / "report.md", page.encode())
    return folder / "report.md"


def _sections(result: Mapping[str, Any], arms: Sequence[Arm], figures: Sequence[str]) -> list[str]:
    failures = [failure_line(learner) for arm in arms for learner in arm.failed]
    class_names = result.get("class_names") or []
    return [
        f"# {cell(notes.recipe_name(result))}",
        "\n\n".join(findings(arms)) or "This run has no learners.",
        section("Failures", "\n".join(f"- {cell(line)}" for line in failures)),
        section("Pretrained models", "\n\n".join(pretrained_models(arms))),
        section(f"Accuracy on the {SETS[reported_split(result)]}", tables.accuracy_table(arms)),
        section("Teacher ensembles", tables.ensemble_table(arms)),
        section("Comparison with teacher and baseline", tables.comparison_table(arms)),
        section("Chains of teachers", chain_table(arms)),
        section("Size and latency", tables.cost_table(arms)),
        section("Budget", budget_table(arms)),
        section("Test-time augmentation", test_time.augmentation_table(arms)),
        section("Figures", "\n\n".join(f"![{FIGURES[name[:-4]]}](figures/{name})" for name in figures)),
        section("Teachers and students", teacher_graph(result.get("recipe") or {})),
        section("Hardest classes", tables.class_table(arms, class_names)),
        section("Most frequent confusions", tables.confusion_table(arms, class_names)),
        section("Results by seed", tables.seed_table(arms)),
        section("Run details", notes.run_details(result)),
        section("Notes", notes.notes(result, arms)),
    ]

"""The report of a run: one Markdown page with findings, tables, figures and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from limbeck.report.figures.catalogue import MAIN, draw_figures
from limbeck.report.figures.drawing import Drawing
from limbeck.report.figures.teacher_graph import teacher_graph
from limbeck.storage.atomic import make_folder, write_file

from . import notes, tables, test_time
from .arms import Arm, arms_of, reported_split
from .budget import budget_table
from .chains import chain_table
from .findings import failure_line, findings, pretrained_models
from .formatting import SETS, cell, section
from .run_data import Curves, record_of_result, with_kept
from .web_page.write import figures_of, write_index


def write_report(folder: Path, result: Mapping[str, Any], curves: Curves) -> Path:
    """Write `report.md`, `index.html` and the main figures as `figures/*.png` into `folder`; returns `report.md`.

    result: as in `result.json`. curves: one row of metrics per epoch, by (arm, seed). Each file is replaced
    atomically, the page last. Raises LimbeckError if the folder cannot be written.
    """
    arms = arms_of(result)
    record = with_kept(record_of_result(folder, result, curves))
    drawn = draw_figures(record, kinds=MAIN, formats=("png",))
    make_folder(folder)
    write_index(folder, [record], figures_of(drawn.files, drawn.alts))
    return write_page(folder, _sections(result, arms, drawn.drawings), drawn.files)


def write_page(folder: Path, sections: Sequence[str], figures: Mapping[str, bytes]) -> Path:
    """Write the sections that are not empty as `report.md`, and the figures by file name into `figures/`."""
    page = "\n\n".join(part for part in sections if part) + "\n"
    make_folder(folder / "figures")
    for name, content in figures.items():
        write_file(folder / "figures" / name, content)
    write_file(folder / "report.md", page.encode())
    return folder / "report.md"


def _sections(result: Mapping[str, Any], arms: Sequence[Arm], drawings: Sequence[Drawing]) -> list[str]:
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
        section("Figures", "\n\n".join(map(picture, drawings))),
        section("Teachers and students", teacher_graph(result.get("recipe") or {})),
        section("Hardest classes", tables.class_table(arms, class_names)),
        section("Most frequent confusions", tables.confusion_table(arms, class_names)),
        section("Results by seed", tables.seed_table(arms)),
        section("Run details", notes.run_details(result)),
        section("Notes", notes.notes(result, arms)),
    ]


def picture(drawing: Drawing) -> str:
    """A figure of `figures/` in Markdown, with what it shows in words."""
    return f"![{cell(drawing.alt)}](figures/{quote(drawing.name)}.png)"

"""The report of a run: one Markdown page with findings, tables, figures and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from limbeck.report.figures.catalogue import FIGURES, MAIN, Drawn, draw_figures
from limbeck.report.figures.drawing import Drawing, FigureKind
from limbeck.report.figures.style import FORMATS
from limbeck.report.figures.teacher_graph import teacher_graph
from limbeck.storage.atomic import make_folder, write_file

from . import exports, notes, tables, test_time
from .budget import budget_table
from .chains import chain_table
from .findings import failure_line, findings, pretrained_models
from .formatting import SETS, cell, section
from .run_data import Curves, RunRecord, record_of_result, with_kept
from .table_files.table import Table
from .table_files.write import FOLDER, tables_of, write_tables
from .web_page.headline import left_out, unfinished
from .web_page.write import figures_of, write_index


def write_report(folder: Path, result: Mapping[str, Any], curves: Curves) -> Path:
    """Write the report of a run that has just ended, with the main figures as PNG; returns the path of `report.md`.

    result: as in `result.json`. curves: one row of metrics per epoch, by (arm, seed). Each file is replaced
    atomically, the page last. Raises LimbeckError if the folder cannot be written.
    """
    record = with_kept(record_of_result(folder, result, curves))
    return write_run_report(folder, record, kinds=MAIN, formats=("png",))


def write_run_report(
    folder: Path, record: RunRecord, *, kinds: Sequence[FigureKind] = FIGURES, formats: Sequence[str] = FORMATS
) -> Path:
    """Write `report.md`, `index.html`, `tables/` and `figures/` of a run into `folder`; returns `report.md`.

    kinds, formats: of the figures. Raises LimbeckError if the folder cannot be written.
    """
    drawn, written = draw_figures(record, kinds=kinds, formats=formats), tables_of(record)
    return write_page(folder, _sections(record, drawn.drawings, written), [record], written, drawn)


def write_page(
    folder: Path, sections: Sequence[str], records: Sequence[RunRecord], written: Sequence[Table], drawn: Drawn
) -> Path:
    """Write `tables/`, `index.html`, `figures/` and, last, the sections that are not empty as `report.md`.

    records: what `index.html` shows. Returns the path of `report.md`. Raises LimbeckError if the folder cannot be
    written.
    """
    page = "\n\n".join(part for part in sections if part) + "\n"
    make_folder(folder)
    write_tables(folder, written)
    write_index(folder, records, figures_of(drawn.files, drawn.alts))
    make_folder(folder / "figures")
    for name, content in drawn.files.items():
        write_file(folder / "figures" / name, content)
    write_file(folder / "report.md", page.encode())
    return folder / "report.md"


def _sections(record: RunRecord, drawings: Sequence[Drawing], written: Sequence[Table]) -> list[str]:
    result, arms = record.result, record.arms
    failures = [failure_line(learner) for arm in arms for learner in arm.failed]
    class_names = result.get("class_names") or []
    return [
        f"# {cell(record.name)}",
        state_notes(record),
        "\n\n".join(findings(arms)) or ("This run has no learners." if record.state == "finished" else ""),
        section("Failures", "\n".join(f"- {cell(line)}" for line in failures)),
        section("Pretrained models", "\n\n".join(pretrained_models(arms))),
        section(f"Accuracy on the {SETS[record.split]}", tables.accuracy_table(arms)),
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
        section("Tables", links(written)),
        section("Results by seed", tables.seed_table(arms)),
        section(exports.TITLE, exports.exports_table(record.models_folder)),
        section("Run details", notes.run_details(result)),
        section("Notes", notes.notes(result, arms)),
    ]


def picture(drawing: Drawing) -> str:
    """A figure of `figures/` in Markdown, with what it shows in words."""
    return f"![{cell(drawing.alt)}](figures/{quote(drawing.name)}.png)"


def state_notes(record: RunRecord) -> str:
    """That a run is not finished, and which of its files are damaged; empty for a whole one."""
    return "\n\n".join(f"**{cell(line)}**" for line in [unfinished(record), *left_out(record)] if line)


def links(written: Sequence[Table]) -> str:
    """Where the tables are as files."""
    if not written:
        return ""
    names = ", ".join(f"[{table.title}]({FOLDER}/{table.name}.md)" for table in written)
    return f"Each is in `{FOLDER}/` as Markdown, CSV and LaTeX (booktabs): {names}."

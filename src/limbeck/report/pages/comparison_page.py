"""The report of several runs: versions beside each other, the same arm over runs, and all arms together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from limbeck.report import notes
from limbeck.report.figures.catalogue import FIGURES, draw_figures
from limbeck.report.figures.drawing import FigureKind
from limbeck.report.figures.several_runs import as_one_run
from limbeck.report.figures.style import FORMATS
from limbeck.report.formatting import cell, section
from limbeck.report.page import links, picture, state_notes, write_page
from limbeck.report.run_data import RunRecord, labels
from limbeck.report.table_files.runs import same_arms_table, versions_table
from limbeck.report.table_files.table import Table
from limbeck.report.table_files.write import tables_of

SHOWN = ("results", "accuracy", "efficiency", "knowledge-transfer")
"""Tables of all arms that the page shows; the others are files."""


def write_comparison(
    folder: Path,
    records: Sequence[RunRecord],
    *,
    kinds: Sequence[FigureKind] = FIGURES,
    formats: Sequence[str] = FORMATS,
) -> Path:
    """Write `report.md`, `index.html`, `tables/` and `figures/` of a comparison into `folder`; returns `report.md`.

    kinds, formats: of the figures. Raises LimbeckError if the folder cannot be written.
    """
    together = as_one_run(records)
    of_runs = [table for table in (versions_table(records), same_arms_table(records)) if table.rows]
    of_arms = tables_of(together)
    drawn = draw_figures(together, kinds=kinds, formats=formats)
    names = labels(records)
    states = [
        f"**{cell(name)}.** {text}"
        for name, record in zip(names, records, strict=True)
        if (text := state_notes(record))
    ]
    sections = [
        f"# {cell(', '.join(names)) if len(names) < 4 else f'{len(names)} runs'} compared",
        "\n\n".join(states),
        *(_shown(table) for table in of_runs),
        *(_shown(table) for table in of_arms if table.name in SHOWN),
        section("Figures", "\n\n".join(map(picture, drawn.drawings))),
        section("Tables", links([*of_runs, *of_arms])),
        section("Notes", notes.notes(together.result, together.arms)),
    ]
    return write_page(folder, sections, records, [*of_runs, *of_arms], drawn)


def _shown(table: Table) -> str:
    return section(table.title, table.markdown() + (f"\n\n{cell(table.note)}" if table.note else ""))

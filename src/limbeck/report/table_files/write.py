"""All tables of a run, or of a comparison, as files in `tables/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from limbeck.report.run_data import RunRecord
from limbeck.storage.atomic import make_folder, write_file

from .hyper_parameters import hyper_parameters_tables
from .latex import latex
from .results import accuracy_table, efficiency_table, results_table
from .table import Table
from .transfer import transfer_table
from .trials import selection_table, trials_table

FOLDER = "tables"


def tables_of(record: RunRecord) -> list[Table]:
    """The tables that a run has data for, in the order in which they are read."""
    recipe = record.measured_recipe
    found = [
        results_table(record.arms, record.split),
        accuracy_table(record.arms, record.split),
        efficiency_table(record.arms),
        transfer_table(record.arms, record.options),
        *hyper_parameters_tables(record.options, recipe),
    ]
    if record.sweep:
        found += [selection_table(record.sweep, record.arms), trials_table(record.sweep)]
    return [table for table in found if table.rows]


def write_tables(folder: Path, tables: Sequence[Table]) -> list[Path]:
    """Write `tables/NAME.md`, `.csv` and `.tex` of each table into `folder`; returns their paths. Raises WriteError."""
    if not tables:
        return []
    make_folder(folder / FOLDER)
    written: list[Path] = []
    for table in tables:
        note = f"{table.note}\n" if table.note else ""
        contents = {
            "md": f"# {table.title}\n\n{table.markdown()}\n" + (f"\n{note}" if note else ""),
            "csv": table.csv(),
            "tex": latex(table),
        }
        for ending, text in contents.items():
            path = folder / FOLDER / f"{table.name}.{ending}"
            write_file(path, text.encode())
            written.append(path)
    return written

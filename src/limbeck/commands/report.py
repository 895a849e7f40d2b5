"""`limbeck report`: every table and figure from run directories alone. It needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.errors import LimbeckError, one_line
from limbeck.report.page import write_run_report
from limbeck.report.pages.comparison_page import write_comparison
from limbeck.report.pages.sweep_page import write_report_of_trials
from limbeck.report.run_data import RunRecord, read_runs


@dataclass(frozen=True)
class Reported:
    """A written report. page: `report.md`. skipped: why each run that was left out is, one line each.

    problems: what is missing or damaged in the runs that are reported, one line each.
    """

    page: Path
    skipped: tuple[str, ...]
    problems: tuple[str, ...]


def report(folders: Sequence[Path], out: Path | None = None) -> Reported:
    """Write the report of a run or sweep, or one comparison of several, into `out`.

    out: by default the directory of the run; several runs need one. Raises LimbeckError if none of the runs can be
    read, if `out` is missing or is the directory of a run, and where it cannot be written.
    """
    if out is None and len(folders) > 1:
        raise LimbeckError(f"report: {len(folders)} runs make one comparison; give it a folder with --out DIR")
    records, skipped = read_runs(folders)
    folder = _checked(out, folders) if out is not None else folders[0]
    problems = tuple(problem for record in records for problem in record.problems)
    return Reported(_write(folder, records), tuple(one_line(LimbeckError(line)) for line in skipped), problems)


def _write(folder: Path, records: Sequence[RunRecord]) -> Path:
    if len(records) > 1:
        return write_comparison(folder, records)
    write = write_report_of_trials if records[0].sweep else write_run_report
    return write(folder, records[0])


def _checked(out: Path, folders: Sequence[Path]) -> Path:
    """The folder to write. Its report.md would replace that of a run which is not the only one reported."""
    if out.exists() and not out.is_dir():
        raise LimbeckError(f"--out: {out}: is a file; expected a folder")
    is_own = len(folders) == 1 and out.resolve() == folders[0].resolve()
    if not is_own and any((out / name).exists() for name in ("recipe.json", "result.json", "run.lock")):
        raise LimbeckError(f"--out: {out}: is the directory of a run; give the report a folder of its own")
    return out

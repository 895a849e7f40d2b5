"""The result of a run or a sweep in a few lines for the terminal, and what can be done with it next."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .arms import arms_of, reported_split, with_ensembles
from .budget import budget_lines
from .comparisons import compare
from .figures.heat_map import trial_text
from .findings import failure_line
from .formatting import DASH, format_interval, format_number, format_optional, format_spread, plain_table
from .pages.sweep_page import validation_top1
from .run_data import sweep_of_result
from .statistics import mean

MAX_WIDTH = 100


def _terminal_width() -> int:
    """Columns of the terminal, at most 100; 100 without a terminal."""
    return max(20, min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns))


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """A compact table of the arms on the reported split, then budgets and failures; at most 100 characters wide."""
    arms, width = arms_of(result), _terminal_width()
    rows: list[list[str]] = []
    for arm in with_ensembles(arms):
        comparison = compare(arm, arms)
        rows.append(
            [
                " ".join(arm.name.split()),
                format_spread(arm.values("test", "top1", 100)),
                format_number(mean(comparison.retention), 1) if comparison.retention else DASH,
                format_interval(comparison.gain) if comparison.gain else DASH,
                format_optional(arm.average("efficiency", "parameters"), 0),
                format_optional(arm.average("efficiency", "image_ms_median")),
            ]
        )
    header = [f"{reported_split(result)} set", "top-1 %", "retention %", "gain, 95 % CI", "parameters", "ms/image"]
    lines = plain_table(header, rows, width)
    for line in budget_lines(arms):
        lines += textwrap.wrap(line, width, subsequent_indent="  ")
    for arm in arms:
        for learner in arm.failed:
            lines += textwrap.wrap(f"! {failure_line(learner)}", width, subsequent_indent="  ")
    return lines


def sweep_summary_lines(result: Mapping[str, Any]) -> list[str]:
    """The best trial of each swept arm; lines at most 100 characters wide."""
    lines: list[str] = []
    sweep = sweep_of_result(result)
    for arm in sweep.swept:
        best = sweep.best[arm]
        head = f"{arm}: best of {len(sweep.settings)} trials on the validation set"
        line = f"{head}: {trial_text(sweep, best)}, top-1 {validation_top1(sweep, arm, best)} %"
        lines += textwrap.wrap(line, _terminal_width(), subsequent_indent="  ")
    return lines


def next_steps(models: Path, result: Mapping[str, Any]) -> list[str]:
    """Commands for the student that is best on the validation set; none if no student finished.

    models: the folder of the run's saved models.
    """
    best = best_student(result)
    if best is None:
        return []
    folder = shlex.quote(str(models / f"{best['arm']}-seed{best['seed']}"))
    return [
        f"best on the validation set: {best['arm']}, seed {best['seed']}",
        f"  evaluate it:  limbeck evaluate {folder}",
        f"  use it:       limbeck predict {folder} IMAGE",
    ]


def best_student(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The best seed of the arm with the highest mean validation accuracy."""
    by_arm: dict[str, list[Mapping[str, Any]]] = {}
    for row in result["arms"]:
        if row["role"] == "student" and not row.get("failure") and row.get("validation"):
            by_arm.setdefault(row["arm"], []).append(row)
    if not by_arm:
        return None
    best = max(by_arm.values(), key=lambda rows: sum(map(_validation_accuracy, rows)) / len(rows))
    return max(best, key=_validation_accuracy)


def _validation_accuracy(row: Mapping[str, Any]) -> float:
    return row["validation"]["top1"]

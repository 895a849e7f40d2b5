"""One page that says what was run, what came out and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.report.figures.bars import draw_bars
from limbeck.report.figures.curves import Curves, draw
from limbeck.report.figures.teacher_graph import wiring
from limbeck.storage.atomic import make_folder, replace, saying_where

from . import notes, tables
from .arms import Arm, arms_of, judged_split
from .findings import failure_line, findings
from .formatting import cell
from .pretrained import from_files

FIGURES = {
    "arms": "accuracy and retention of every arm",
    "accuracy": "accuracy by epoch",
    "loss": "loss by epoch",
    "last-epochs": "the last epochs",
}


def write_report(folder: Path, result: Mapping[str, Any], curves: Curves) -> Path:
    """Write `report.md` and `figures/*.png|svg` into `folder`; returns the page's path.

    result: what was run and every learner's metrics, as in `result.json`. curves: rows of metrics an epoch by
    (arm, seed). Each file appears whole or not at all, the page last. Raises LimbeckError where the folder
    cannot be written.
    """
    arms = arms_of(result)
    title = notes.recipe_name(result)
    figures = draw_bars(arms, title) | draw(arms, curves, title)
    page = _page(result, arms, [name for name in figures if name.endswith(".png")])
    with saying_where(folder / "figures"):
        make_folder(folder / "figures")
    for name, content in figures.items():
        replace(folder / "figures" / name, content)
    replace(folder / "report.md", page.encode())
    return folder / "report.md"


def _page(result: Mapping[str, Any], arms: Sequence[Arm], figures: Sequence[str]) -> str:
    failures = [failure_line(learner) for arm in arms for learner in arm.failed]
    sections = [
        f"# {cell(notes.recipe_name(result))}",
        "\n\n".join(findings(arms)) or "This run has no learner.",
        _section("What failed", "\n".join(f"- {cell(line)}" for line in failures)),
        _section("Models from files", "\n\n".join(from_files(arms))),
        _section(f"Accuracy on the {judged_split(result)} split", tables.accuracy_table(arms)),
        _section("Teachers together", tables.ensemble_table(arms)),
        _section("Beside the teacher and the baseline", tables.standing_table(arms)),
        _section("What it costs", tables.cost_table(arms)),
        _section("Figures", "\n\n".join(f"![{FIGURES[name[:-4]]}](figures/{name})" for name in figures)),
        _section("Who teaches whom", wiring(result.get("recipe") or {})),
        _section("The hardest classes", tables.class_table(arms, result.get("class_names") or [])),
        _section("What is taken for what", tables.confusion_table(arms, result.get("class_names") or [])),
        _section("Every run", tables.run_table(arms)),
        _section("What was run", notes.provenance(result)),
        _section("How to read this", notes.notes(result, arms)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""

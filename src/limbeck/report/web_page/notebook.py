"""What a result shows of itself in a notebook: its findings, the table of accuracies and the main figure, as HTML.

The HTML is complete in itself: no script, no style sheet, no request, and the figure is within it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.report.arms import Arm
from limbeck.report.figures.catalogue import FIGURES, OF_A_SWEEP, draw_figures
from limbeck.report.figures.drawing import FigureKind
from limbeck.report.formatting import SETS
from limbeck.report.run_data import RunRecord, record_of_result, record_of_sweep_result
from limbeck.report.tables import accuracy_table

from .headline import headline, warnings
from .markup import escape, table_of


def html_of_run(folder: Path, result: Mapping[str, Any]) -> str:
    """A finished run. result: as in `result.json`."""
    record = record_of_result(folder, result, {})
    lead = [f"<p>{escape(line)}</p>" for line in warnings(record)] + [f"<p>{' '.join(headline(record))}</p>"]
    return _whole([*lead, _table(record.arms), _figure(record, _kind("arms")), _place(folder)])


def html_of_sweep(folder: Path, result: Mapping[str, Any]) -> str:
    """A finished sweep. result: as in its `result.json`."""
    record = record_of_result(folder, result["chosen"], {})
    of_trials = record_of_sweep_result(folder, result, {})
    lead = f"<p>{len(result['settings'])} trials. {' '.join(headline(record))}</p>"
    figure = _figure(of_trials, OF_A_SWEEP[0]) or _figure(record, _kind("arms"))
    return _whole([lead, _table(record.arms), figure, _place(folder)])


def html_of_student(
    facts: Mapping[str, str], model: str, evaluations: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> str:
    """A student of `limbeck.distill`. facts: what to say about it, by name. evaluations: as in `result.json`, by split.
    history: one row of metrics per epoch.
    """
    about = {"arm": "student", "role": "student", "seed": 0, "model": model, "teacher": [], "ended": "epochs"}
    record = record_of_result(Path(), {"arms": [{**about, **evaluations}]}, {("student", 0): history})
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return _whole([f"<table><tbody>{rows}</tbody></table>", _figure(record, _kind("accuracy"))])


def _kind(name: str) -> FigureKind:
    return next(kind for kind in FIGURES if kind.name == name)


def _table(arms: Sequence[Arm]) -> str:
    return table_of(accuracy_table(arms), f"Accuracy on the {SETS[arms[0].split]}", sortable=False) if arms else ""


def _figure(record: RunRecord, kind: FigureKind) -> str:
    """The first figure of a kind; empty if the record has none."""
    drawn = draw_figures(record, kinds=[kind], formats=("png",))
    if not drawn.drawings:
        return ""
    first = drawn.drawings[0]
    data = base64.b64encode(drawn.files[f"{first.name}.png"]).decode()
    style = "width: 100%; max-width: 760px; background: white"
    return f'<img src="data:image/png;base64,{data}" alt="{escape(first.alt)}" style="{style}">'


def _place(folder: Path) -> str:
    return f"<p>Report: <code>{escape(folder / 'index.html')}</code></p>"


def _whole(parts: Sequence[str]) -> str:
    return f"<div>{''.join(parts)}</div>"

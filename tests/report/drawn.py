"""Figures as matplotlib objects, so that tests compare what is drawn with what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from limbeck.report.figures.catalogue import FIGURES
from limbeck.report.figures.drawing import Drawing, Missing
from limbeck.report.figures.style import STYLE
from limbeck.report.run_data import RunRecord, record_of_result

Curves = dict[tuple[str, int], list[dict[str, Any]]]


def record_of(result: dict[str, Any], curves: Curves | None = None) -> RunRecord:
    return record_of_result(Path("a-run"), result, curves or {})


def found(name: str, record: RunRecord) -> Sequence[Drawing] | Missing:
    return next(kind for kind in FIGURES if kind.name == name).draw(record)


def drawings(name: str, record: RunRecord) -> list[Drawing]:
    drawn = found(name, record)
    assert not isinstance(drawn, Missing), drawn
    return list(drawn)


def figure_of(drawing: Drawing) -> Figure:
    with mpl.rc_context(STYLE):
        figure = drawing.make()
        figure.draw_without_rendering()
    return figure


def drawn(name: str, record: RunRecord) -> Figure:
    return figure_of(drawings(name, record)[0])


def lines(panel: Axes, *, labelled: bool = False) -> list[tuple[list[float], list[float]]]:
    """The points of each line of a panel."""
    kept = [line for line in panel.get_lines() if not labelled or not str(line.get_label()).startswith("_")]
    return [
        (np.asarray(line.get_xdata(), float).tolist(), np.asarray(line.get_ydata(), float).tolist())
        for line in kept
        if not isinstance(line.get_xdata(), str)
    ]


def has_line(panel: Axes, xs: Sequence[float], ys: Sequence[float]) -> bool:
    """Whether one line of the panel has just these points."""
    return any(
        len(x) == len(xs) and np.allclose(x, xs, atol=1e-9) and np.allclose(y, ys, atol=1e-9) for x, y in lines(panel)
    )


def words(figure: Figure) -> list[str]:
    """All text of a figure, as drawn."""
    return [text.get_text() for text in _texts(figure) if text.get_visible() and text.get_text()]


def _texts(figure: Figure) -> Iterator[Text]:
    for artist in figure.findobj(Text):
        assert isinstance(artist, Text)
        yield artist

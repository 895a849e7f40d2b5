"""What a figure is, to those who draw it and to those who show it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limbeck.report.arms import Arm
from limbeck.report.run_data import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = ("accuracy", "loss", "last-epochs", "generalisation")
_COSTS = ("size", "trade-off", "resolution", "cross-resolution")
NAMES_OF_RUN_FIGURES = frozenset({"arms", "retention", *_CURVES, *_COSTS, "reliability"})
"""Names of figures that every run may have, beside which those of a sweep are named by its arms."""


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn. name: of its files. title: a caption. alt: what it shows, in words and numbers.

    make: draws it, within the settings of `style.STYLE`.
    """

    name: str
    title: str
    alt: str
    make: Callable[[], Figure]


class Missing(str):
    """Why a run has no such figure, as the end of a sentence: `only one teacher was measured`."""


@dataclass(frozen=True)
class FigureKind:
    """An entry of the table of figures. name and title: as in the documentation.

    draw: the figures of this kind that a run has (one, or one for each option or arm), or why it has none.
    main: drawn at the end of a run; the others are drawn by `limbeck report`.
    """

    name: str
    title: str
    draw: Callable[[RunRecord], Sequence[Drawing] | Missing]
    main: bool = False


def best_students(record: RunRecord, limit: int, also: Callable[[Arm], bool] = lambda arm: True) -> list[Arm]:
    """Up to `limit` students for which `also` holds, those that are best on the validation set, in the run's order."""
    students = [arm for arm in record.arms if arm.role == "student" and also(arm)]
    chosen = sorted(students, key=lambda arm: -(arm.average("validation", "top1") or 0.0))[:limit]
    return [arm for arm in students if arm in chosen]


def name_part(text: str) -> str:
    """Any text as a part of a file name: `loss.dkd.beta` as `loss-dkd-beta`."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:60] or "arm"

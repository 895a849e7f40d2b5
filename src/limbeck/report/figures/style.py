"""What all figures share: one style, colours that read without colour vision, and the files they become."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from limbeck.report.arms import Arm
from limbeck.report.ensembles import ENSEMBLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe & Ito, 2008
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "svg.hashsalt": "limbeck",
}


class Look(NamedTuple):
    """How an arm is drawn, in every figure of a report."""

    colour: str
    line: Any
    marker: str


MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TEACHER_LINE = (0, (5, 2))
STUDENT_LINES = ("solid", (0, (1, 1)), (0, (4, 1, 1, 1)))  # the next one when colours begin again
ENSEMBLE_COLOUR = "#777777"


def looks(arms: Sequence[Arm]) -> dict[str, Look]:
    """Colour, line and marker of each arm by name; an ensemble, which has no curve, takes none of the colours."""
    found: dict[str, Look] = {}
    for number, arm in enumerate(arm for arm in arms if arm.role != ENSEMBLE):
        again, place = divmod(number, len(COLOURS))
        line = TEACHER_LINE if arm.role == "teacher" else STUDENT_LINES[again % len(STUDENT_LINES)]
        found[arm.name] = Look(COLOURS[place], line, MARKERS[(number + again) % len(MARKERS)])
    return found | {arm.name: Look(ENSEMBLE_COLOUR, TEACHER_LINE, "o") for arm in arms if arm.role == ENSEMBLE}


def drawn(name: str, make: Callable[[], Figure], **style: Any) -> dict[str, bytes]:
    """`NAME.png` and `NAME.svg` of what `make` draws. The same figure gives the same bytes.

    style: matplotlib's settings beside `STYLE`, dots as underscores (`axes_grid=False`).
    """
    import matplotlib as mpl  # late: half a second that `limbeck list` should not pay

    files: dict[str, bytes] = {}
    changed: dict[Any, Any] = {key.replace("_", ".", 1): value for key, value in style.items()}
    with mpl.rc_context(STYLE | changed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure = make()
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            stamp = {"Date": None} if kind == "svg" else None
            figure.savefig(buffer, format=kind, dpi=160, bbox_inches="tight", metadata=stamp)
            files[f"{name}.{kind}"] = buffer.getvalue()
    return files


def shortened(text: str, length: int) -> str:
    """One line of at most `length` characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"

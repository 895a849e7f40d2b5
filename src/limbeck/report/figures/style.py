"""The common style of all figures, with colours for colour-blind readers, and rendering to PNG and SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from limbeck.report.arms import ENSEMBLE, Arm

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


class ArmStyle(NamedTuple):
    """How an arm is drawn, the same in every figure of a report."""

    colour: str
    line: Any
    marker: str


MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TEACHER_LINE = (0, (5, 2))
STUDENT_LINES = ("solid", (0, (1, 1)), (0, (4, 1, 1, 1)))  # the next one each time the colours repeat
ENSEMBLE_COLOUR = "#777777"


def arm_styles(arms: Sequence[Arm]) -> dict[str, ArmStyle]:
    """Colour, line and marker of each arm by name; ensembles, which have no curves, are all grey."""
    styles: dict[str, ArmStyle] = {}
    for number, arm in enumerate(arm for arm in arms if arm.role != ENSEMBLE):
        cycle, colour = divmod(number, len(COLOURS))
        line = TEACHER_LINE if arm.role == "teacher" else STUDENT_LINES[cycle % len(STUDENT_LINES)]
        styles[arm.name] = ArmStyle(COLOURS[colour], line, MARKERS[(number + cycle) % len(MARKERS)])
    return styles | {arm.name: ArmStyle(ENSEMBLE_COLOUR, TEACHER_LINE, "o") for arm in arms if arm.role == ENSEMBLE}


def render_figure(name: str, make: Callable[[], Figure], **style: Any) -> dict[str, bytes]:
    """Render the figure that `make` returns as `NAME.png` and `NAME.svg`. The same figure gives the same bytes.

    style: matplotlib settings in addition to `STYLE`, dots as underscores (`axes_grid=False`).
    """
    import matplotlib as mpl  # imported late: it takes half a second

    files: dict[str, bytes] = {}
    overrides: dict[Any, Any] = {key.replace("_", ".", 1): value for key, value in style.items()}
    with mpl.rc_context(STYLE | overrides), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in scripts that the font does not cover
        figure = make()
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else None  # no timestamp
            figure.savefig(buffer, format=kind, dpi=160, bbox_inches="tight", metadata=metadata)
            files[f"{name}.{kind}"] = buffer.getvalue()
    return files


def shorten(text: str, length: int) -> str:
    """The text on one line of at most `length` characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"

"""The house style of all figures: sizes for a two-column page, colours, lines and markers, and rendering to files.

The seven colours differ in lightness by at least 7 (CIE L*), so that they stay apart in grey, and by at least 20
(CIE76) for readers with protanopia, deuteranopia and tritanopia. Each goes with a marker of its own.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from limbeck.report.arms import ENSEMBLE, Arm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#082489", "#B75205", "#2A87F7", "#12683E", "#D080C4", "#6D2960", "#C0AE71")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TEACHER_LINE = (0, (5, 2))
STUDENT_LINES = ("solid", (0, (1, 1)), (0, (4, 1, 1, 1)))  # the next one each time the colours repeat
ENSEMBLE_COLOUR = "#777777"
ACCENT = "#D55E00"
TEXT, FAINT, GRID, BACKGROUND = "#222222", "#6A6A6A", "#E3E3E3", "#C9C9C9"
ONE_COLUMN, TWO_COLUMNS = 3.5, 7.16
"""Widths in inches of a figure in one column, and across both, of a two-column page."""
SMALL = 6.5
NOTE_CHARACTERS = 20
"""Of the small print, characters that surely fit an inch."""
DPI = 300
FORMATS = ("png", "svg", "pdf")
STYLE: dict[Any, Any] = {
    "font.size": 7.5,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it: the same figure on every machine
    "text.color": TEXT,
    "text.parse_math": False,  # names may hold dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.6,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.labelsize": 7.5,
    "axes.labelcolor": TEXT,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "limbeck",
    "pdf.fonttype": 42,  # text that journals accept, and that can be searched
}


class ArmStyle(NamedTuple):
    """How an arm is drawn, the same in every figure of a report."""

    colour: str
    line: Any
    marker: str


def arm_styles(arms: Sequence[Arm]) -> dict[str, ArmStyle]:
    """Colour, line and marker of each arm by name; ensembles, which have no curves, are all grey."""
    styles: dict[str, ArmStyle] = {}
    for number, arm in enumerate(arm for arm in arms if arm.role != ENSEMBLE):
        cycle, colour = divmod(number, len(COLOURS))
        line = TEACHER_LINE if arm.role == "teacher" else STUDENT_LINES[cycle % len(STUDENT_LINES)]
        styles[arm.name] = ArmStyle(COLOURS[colour], line, MARKERS[(number + cycle) % len(MARKERS)])
    return styles | {arm.name: ArmStyle(ENSEMBLE_COLOUR, TEACHER_LINE, "o") for arm in arms if arm.role == ENSEMBLE}


def fill(arm: Arm, colour: str) -> str:
    """What a mark of an arm is filled with: those of teachers and ensembles are open."""
    return colour if arm.role == "student" else "white"


def lightness(colour: str) -> float:
    """CIE L* of an sRGB colour such as `#0072B2`: 0 for black, 100 for white."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def text_colour(colour: str) -> str:
    """The colour, darkened to a contrast with white of at least 4.5 (L* of at most 49), as text needs."""
    while lightness(colour) > 49:
        colour = "#" + "".join(f"{int(0.97 * int(colour[i : i + 2], 16)):02X}" for i in (1, 3, 5))
    return colour


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; width and height in inches."""
    from matplotlib.figure import Figure  # imported late: it takes half a second

    return Figure(figsize=(width, height))


def add_note(figure: Figure, parts: Sequence[str]) -> None:
    """Small print below a figure, which says what marks mean; wrapped to its width, between parts where possible."""
    import textwrap

    width, separator = round(NOTE_CHARACTERS * figure.get_size_inches()[0]), "   ·   "
    lines = [""]
    for part in (part for part in parts if part):
        joined = lines[-1] + separator + part if lines[-1] else part
        lines = [*lines[:-1], joined] if len(joined) <= width else [*lines, *textwrap.wrap(part, width)]
    if text := "\n".join(line for line in lines if line):
        figure.supxlabel(text, x=0.01, ha="left", fontsize=SMALL, color=FAINT)


def name_rows(panel: Axes, names: Sequence[str], *, length: int = 30) -> None:
    """One horizontal row for each name, the first on top."""
    panel.set_yticks(range(len(names)), [shorten(name, length) for name in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")
    for row in range(len(names)):
        panel.axhline(row, color=GRID, linewidth=0.5, zorder=0)


def render(make: Callable[[], Figure], formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """Render the figure that `make` returns, by format (`png`, `svg`, `pdf`). The same figure gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    files: dict[str, bytes] = {}
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in scripts that the font does not cover
        figure = make()
        figure.dpi = DPI
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine("none")  # the layout is found once, not once for each format
        for kind in formats:  # `Figure.savefig` would draw twice each time
            buffer = io.BytesIO()
            figure.dpi = DPI  # the others draw at 72 points an inch
            if kind == "png":
                FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 4})
            elif kind == "svg":
                FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
            elif kind == "pdf":
                FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None})
            else:
                raise ValueError(f"render: takes {', '.join(FORMATS)}; got {kind}")
            files[kind] = buffer.getvalue()
    return files


def shorten(text: str, length: int) -> str:
    """The text on one line of at most `length` characters, shortened in the middle: names often differ at their ends.

    Of `RUN: ARM`, the run is shortened first.
    """
    text = " ".join(text.split())
    if len(text) <= length:
        return text
    run, separator, arm = text.rpartition(": ")
    room = length - len(separator) - len(arm) - 1
    if separator and room >= 2:
        return f"{run[:room]}…{separator}{arm}"
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"

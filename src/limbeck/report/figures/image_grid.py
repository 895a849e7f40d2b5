"""A sheet of images with a line of text under each, as a PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .style import shortened

Row = tuple[str, Sequence[NDArray[np.uint8]], Sequence[str]]
"""What the row shows, its images `[H, W, 3]` and their captions."""

INCHES = 1.15
LINE = 22  # characters of a caption that fit under an image


def draw_sheet(title: str, rows: Sequence[Row]) -> bytes:
    """A grid of images, pixels drawn as squares, as the bytes of a PNG. All rows are equally long."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = len(rows[0][1])
    with mpl.rc_context({"font.size": 6.5, "font.family": "sans-serif"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(INCHES * columns + 0.4, (INCHES + 0.28) * len(rows) + 0.3), layout="constrained")
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
        grid: Any = figure.subplots(len(rows), columns, squeeze=False)
        for line, (name, images, captions) in zip(grid, rows, strict=True):
            for axes, image, caption in zip(line, images, captions, strict=True):
                axes.imshow(image, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.set_xlabel("\n".join(shortened(part, LINE) for part in caption.split("\n")), labelpad=2)
                for spine in axes.spines.values():
                    spine.set_visible(False)
            line[0].set_ylabel(name, fontsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()

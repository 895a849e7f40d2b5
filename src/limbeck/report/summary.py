"""The result in a few lines for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from .arms import arms_of, judged_split
from .comparisons import standing
from .ensembles import with_ensembles
from .findings import failure_line
from .formatting import DASH, plain_table
from .statistics import format_interval, format_number, format_spread, mean

WIDTH = 100


def terminal_width() -> int:
    """Of the terminal, at most 100 characters; 100 where there is none."""
    return max(20, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """A compact table of the arms on the test split, as wide as the terminal or 100 characters, then what failed."""
    arms, width = arms_of(result), terminal_width()
    rows: list[list[str]] = []
    for arm in with_ensembles(arms):
        place = standing(arm, arms)
        size, time = arm.average("efficiency", "parameters"), arm.average("efficiency", "image_ms_median")
        rows.append(
            [
                " ".join(arm.name.split()),
                format_spread(arm.values("test", "top1", 100)),
                format_number(mean(place.retention), 1) if place.retention else DASH,
                format_interval(place.gain) if place.gain else DASH,
                DASH if size is None else f"{size:,.0f}",
                DASH if time is None else format_number(time),
            ]
        )
    lines = plain_table(
        [f"{judged_split(result)} split", "top-1 %", "retention %", "gain, 95 % interval", "parameters", "ms/image"],
        rows,
        width,
    )
    for arm in arms:
        for learner in arm.failed:
            lines += textwrap.wrap(f"! {failure_line(learner)}", width, subsequent_indent="  ")
    return lines

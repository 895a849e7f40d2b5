"""Numbers, durations and tables as text, in Markdown and for a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from .statistics import Interval, mean, standard_deviation

DASH = "–"
SETS = {"test": "held-out test set", "validation": "validation set"}
"""What a split is called in a sentence."""
MIN_NAME_WIDTH, NAME_WIDTH = 8, 16
"""Characters of the first column of a plain table: its minimum, and its width when columns are spread over blocks."""
_SPECIAL = re.compile(r"([\\|*<>\[\]`$]|(?<!\w)_|_(?!\w))")


def format_number(value: float, digits: int = 2) -> str:
    """Fixed digits with a true minus sign; never a negative zero, `–` for values that are not finite."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "−")


def format_signed(value: float, digits: int = 2) -> str:
    """`format_number` with an explicit plus sign, for differences."""
    text = format_number(value, digits)
    return text if text[0] in "−–" or not text.strip("0.,") else f"+{text}"


def few_of(names: Sequence[str], most: int) -> str:
    """`a, b and 3 more`: up to `most` names."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def format_spread(values: Sequence[float], digits: int = 2, unit: str = "") -> str:
    """`84.61 ± 0.12 (n = 3)`; `84.61 (n = 1)` for a single value; `–` for none.

    Values that are not finite are left out of the mean and of n. unit: follows the numbers, as in `84.61 % (n = 1)`.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return DASH
    return spread_text(mean(finite), standard_deviation(finite), len(finite), digits, unit)


def spread_text(mean: float, sd: float | None, n: int, digits: int = 2, unit: str = "") -> str:
    """`format_spread` of what was computed before. sd: None for a single value."""
    deviation = "" if sd is None else f" ± {sd:.{digits}f}"
    return f"{format_number(mean, digits)}{deviation}{unit} (n = {n})"


def format_interval(interval: Interval, digits: int = 2) -> str:
    """`+1.51 [+1.10, +1.92] (n = 3)`, or `+1.51 (n = 1)` without an interval."""
    centre = format_signed(interval.mean, digits)
    if interval.low is None or interval.high is None:
        return f"{centre} (n = {interval.n})"
    low, high = format_signed(interval.low, digits), format_signed(interval.high, digits)
    return f"{centre} [{low}, {high}] (n = {interval.n})"


def format_optional(value: float | None, digits: int = 2) -> str:
    """`format_number`; `–` for None."""
    return DASH if value is None else format_number(value, digits)


def duration(seconds: float) -> str:
    """`38 s`, `12 min 05 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def cell(text: object) -> str:
    """Any text as literal Markdown on one line: pipes, asterisks and tags are escaped."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def section(title: str, body: str) -> str:
    """A Markdown section; empty if the body is."""
    return f"## {title}\n\n{body}" if body else ""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: first column left-aligned, the others right-aligned. Empty if there are no rows.

    Cells are not escaped (see `cell`). A column of dashes only is left out.
    """
    if not rows:
        return ""
    columns = [i for i in range(len(header)) if i == 0 or any(row[i] != DASH for row in rows)]
    lines = [[line[i] for i in columns] for line in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]

    def format_line(line: Sequence[str]) -> str:
        padded = [
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * max(w - 1, 2) if i == 0 else "-" * max(w - 1, 2) + ":" for i, w in enumerate(widths)]
    return "\n".join([format_line(lines[0]), f"| {' | '.join(rule)} |", *map(format_line, lines[1:])])


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int = 100) -> list[str]:
    """A table for a terminal, in lines of at most `width` characters.

    Columns that do not fit continue in a further block below, which repeats the first column. Names in the first
    column are shortened only if a single further column does not fit beside them.
    """
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    names = min(widths[0], NAME_WIDTH)
    blocks: list[list[int]] = [[]]
    for column in range(1, len(header)):
        used = names + sum(2 + widths[i] for i in blocks[-1])
        if blocks[-1] and used + 2 + widths[column] > width:
            blocks.append([])
        blocks[-1].append(column)
    lines: list[str] = []
    for block in blocks:
        part = [[line[i] for i in (0, *block)] for line in (header, *rows)]
        lines += ([""] if lines else []) + _block(part[0], part[1:], width)
    return lines


def _block(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    numbers = [max(len(line[i]) for line in (header, *rows)) for i in range(1, len(header))]
    available = max(MIN_NAME_WIDTH, width - sum(numbers) - 2 * len(numbers))
    first = min(available, max(len(line[0]) for line in (header, *rows)))

    def format_line(line: Sequence[str]) -> str:
        name = line[0] if len(line[0]) <= first else line[0][: first - 1] + "…"
        return "  ".join([name.ljust(first), *(t.rjust(w) for t, w in zip(line[1:], numbers, strict=True))])

    return [format_line(header), "-" * min(width, first + sum(numbers) + 2 * len(numbers)), *map(format_line, rows)]

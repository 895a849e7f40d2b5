"""Markdown tables and the words in their cells."""

from __future__ import annotations

import re
from collections.abc import Sequence

DASH = "–"
FEWEST_OF_A_NAME, NAME_BEFORE_COLUMNS = 8, 16
"""Characters of the first column: what is always shown, and what it may take before another column goes below."""
_SPECIAL = re.compile(r"([\\|*<>\[\]`$]|(?<!\w)_|_(?!\w))")


def cell(text: object) -> str:
    """Any text as literal Markdown on one line: pipes, stars and tags of a name stay what they are."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is left-aligned and whose numbers are right-aligned.

    Cells are taken as they are (see `cell`). A column that holds nothing but dashes is left out.
    """
    kept = [i for i in range(len(header)) if i == 0 or any(row[i] != DASH for row in rows)]
    lines = [[header[i] for i in kept], *([row[i] for i in kept] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(kept))]

    def drawn(line: Sequence[str]) -> str:
        padded = [
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * max(w - 1, 2) if i == 0 else "-" * max(w - 1, 2) + ":" for i, w in enumerate(widths)]
    return "\n".join([drawn(lines[0]), f"| {' | '.join(rule)} |", *map(drawn, lines[1:])])


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int = 100) -> list[str]:
    """The same for a terminal, at most `width` characters a line.

    Columns that do not fit beside the first are put below, with the first one again; the first is shortened last.
    """
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    names = min(widths[0], NAME_BEFORE_COLUMNS)
    blocks: list[list[int]] = [[]]
    for column in range(1, len(header)):
        taken = names + sum(2 + widths[i] for i in blocks[-1])
        if blocks[-1] and taken + 2 + widths[column] > width:
            blocks.append([])
        blocks[-1].append(column)
    lines: list[str] = []
    for block in blocks:
        part = [[line[i] for i in (0, *block)] for line in (header, *rows)]
        lines += ([""] if lines else []) + _block(part[0], part[1:], width)
    return lines


def _block(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    numbers = [max(len(line[i]) for line in (header, *rows)) for i in range(1, len(header))]
    room = max(FEWEST_OF_A_NAME, width - sum(numbers) - 2 * len(numbers))
    first = min(room, max(len(line[0]) for line in (header, *rows)))

    def drawn(line: Sequence[str]) -> str:
        name = line[0] if len(line[0]) <= first else line[0][: first - 1] + "…"
        return "  ".join([name.ljust(first), *(t.rjust(w) for t, w in zip(line[1:], numbers, strict=True))])

    return [drawn(header), "-" * min(width, first + sum(numbers) + 2 * len(numbers)), *map(drawn, rows)]


def duration(seconds: float) -> str:
    """`38 s`, `12 min 05 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

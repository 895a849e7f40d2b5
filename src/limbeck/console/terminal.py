"""Long lines for a terminal: broken between words, with what goes on set in. Elsewhere a line stays a line."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from typing import TextIO


def width_of(stream: TextIO) -> int | None:
    """Columns of the terminal that a stream writes to; None where it is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else None
    except (OSError, ValueError):
        return None


def wrapped(lines: Iterable[str], width: int | None, *, beyond: int = 2) -> list[str]:
    """The lines, none longer than `width` where words allow it; what goes on is set in by `beyond` more."""
    if width is None:
        return list(lines)
    found: list[str] = []
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        wrapper = textwrap.TextWrapper(
            max(20, width), initial_indent=indent, subsequent_indent=indent + " " * beyond,
            break_long_words=False, break_on_hyphens=False, drop_whitespace=True,
        )  # fmt: skip
        found += wrapper.wrap(line.strip()) if len(line) > width else [line]
    return [line.rstrip() for line in found] if found else []


def beside(name: str, text: str, column: int, width: int | None) -> list[str]:
    """A name, and beside it in a column of its own a text over as many lines as it takes."""
    if width is None:
        return [f"{name:<{column}}{text}".rstrip()]
    lines = wrapped([text], max(20, width - column), beyond=0) or [""]
    return [f"{name:<{column}}{lines[0]}".rstrip(), *(f"{'':<{column}}{line}" for line in lines[1:])]

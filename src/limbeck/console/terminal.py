"""Text on terminals: lines wrapped at the width, and characters replaced that the encoding lacks."""

from __future__ import annotations

import codecs
import io
import os
import textwrap
from collections.abc import Iterable
from typing import TextIO

ERROR_HANDLER = "limbeck.plain"
PLAIN = {
    "–": "-", "—": "-", "−": "-", "‑": "-", "×": "x", "·": "*", "±": "+/-", "…": "...", "≥": ">=", "≤": "<=",
    "≈": "~", "→": "->", "‖": "||", "½": "1/2", "√": "sqrt", "²": "^2", "³": "^3", "⁰": "^0", "⁴": "^4", "ᵀ": "^T",
    "‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"', "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    "α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon", "λ": "lambda", "π": "pi", "ρ": "rho", "Σ": "Sigma",
    "τ": "tau", "ω": "omega", "µ": "u", "μ": "u",
    "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|", "█": "#", "•": "*", "●": "*",
}  # fmt: skip
"""Replacements for the characters that Limbeck writes. Any other, as in a path, is escaped (`\\xe9`)."""


def replace_unencodable(streams: Iterable[TextIO | None]) -> None:
    """Make these streams replace what their encoding lacks instead of raising an error. Files are not affected."""
    codecs.register_error(ERROR_HANDLER, _plain)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERROR_HANDLER)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or ascii(c)[1:-1] for c in text), error.end


def width_of(stream: TextIO) -> int | None:
    """The number of columns of a stream's terminal, or None if it is not a terminal."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else None
    except (OSError, ValueError):
        return None


def wrapped(lines: Iterable[str], width: int | None, *, indent: int = 2) -> list[str]:
    """Wrap lines between words at `width` columns; continuation lines are indented by `indent` more columns.

    Without a width, each line stays one line.
    """
    if width is None:
        return list(lines)
    result: list[str] = []
    for line in lines:
        start = " " * (len(line) - len(line.lstrip()))
        wrapper = textwrap.TextWrapper(
            max(20, width), initial_indent=start, subsequent_indent=start + " " * indent,
            break_long_words=False, break_on_hyphens=False, drop_whitespace=True,
        )  # fmt: skip
        result += wrapper.wrap(line.strip()) if len(line) > width else [line]
    return [line.rstrip() for line in result]


def in_two_columns(name: str, text: str, column: int, width: int | None) -> list[str]:
    """A name, and beside it a text that starts at `column` and is wrapped at `width`."""
    if width is None:
        return [f"{name:<{column}}{text}".rstrip()]
    lines = wrapped([text], max(20, width - column), indent=0) or [""]
    return [f"{name:<{column}}{lines[0]}".rstrip(), *(f"{'':<{column}}{line}" for line in lines[1:])]

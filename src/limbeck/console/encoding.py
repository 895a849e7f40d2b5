"""Text on terminals that cannot show all of it: a dash becomes `-` there, and no output ends in an error."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable
from typing import TextIO

ERRORS = "limbeck.plain"
PLAIN = {
    "–": "-", "—": "-", "−": "-", "‑": "-", "×": "x", "·": "*", "±": "+/-", "…": "...", "≥": ">=", "≤": "<=",
    "≈": "~", "→": "->", "‖": "||", "½": "1/2", "√": "sqrt", "²": "^2", "³": "^3", "⁰": "^0", "⁴": "^4", "ᵀ": "^T",
    "‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"', "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    "α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon", "λ": "lambda", "π": "pi", "ρ": "rho", "Σ": "Sigma",
    "τ": "tau", "ω": "omega", "µ": "u", "μ": "u",
    "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|", "█": "#", "•": "*", "●": "*",
}  # fmt: skip
"""What Limbeck itself writes. Anything else, as in a path, is written out (`\\xe9`) and never replaced by a guess."""


def replace_unencodable(streams: Iterable[TextIO | None]) -> None:
    """Let these streams write whatever they are given, in their own encoding. Files are none of its business."""
    codecs.register_error(ERRORS, _plain)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or ascii(c)[1:-1] for c in text), error.end

"""The one kind of error that is meant for a person."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LimbeckError(Exception):
    """Something a person can mend. The message says what is wrong, where, and what it takes."""


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or the list of what exists where nothing is near."""
    words = sorted(valid)
    near = get_close_matches(str(word), words, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there is {', '.join(words)}" if words else ""

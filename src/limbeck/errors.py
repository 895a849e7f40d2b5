"""Errors that a user can fix, and the parts of their messages: shortened values and the nearest valid word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from limbeck.synonyms import meanings, simplified


class LimbeckError(Exception):
    """An error that the user can fix. The message says what is wrong, where, and what is accepted."""


class RecipeError(LimbeckError):
    """A recipe that cannot be run; one line for each error."""

    def __init__(self, message: str) -> None:
        # A file's content ends up on a terminal, so control characters are escaped.
        super().__init__("\n".join(map(printable, message.split("\n"))))


def printable(text: str) -> str:
    """One line, with unprintable characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(error: BaseException, limit: int | None = 200) -> str:
    """Another library's error as one line of at most `limit` characters."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def short_repr(value: object, limit: int = 60) -> str:
    """`repr(value)` on one line of at most `limit` characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a user's own `__repr__` may raise, and very long integers have no text
        text = type(value).__name__
    text = printable(text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def nearest(word: str, valid: Iterable[str]) -> list[str]:
    """The valid word closest to `word`, or an empty list if none is close.

    Tried in this order: another spelling (`resnet-20`), another library's word (`adam_w`, `kd`), a typo, a prefix.
    """
    words = sorted(valid)
    same = [other for other in words if simplified(other) == simplified(word)] if simplified(word) else []
    synonyms = [other for other in meanings(word) if other in words]
    longer = [other for other in words if len(word) > 2 and other.startswith(word)]
    for candidates in (same, synonyms, get_close_matches(word[:100], words, n=1, cutoff=0.6), longer):
        if candidates:
            return candidates[:1]
    return []


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or the list of valid words if none is close."""
    words = sorted(valid)
    for near in nearest(str(word), words):
        return f"; did you mean {near!r}?"
    return f"; expected {'one of ' if len(words) > 1 else ''}{', '.join(words)}" if words else ""

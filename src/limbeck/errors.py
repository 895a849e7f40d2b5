"""The one kind of error that is meant for a person."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from limbeck.synonyms import meant_by, simple


class LimbeckError(Exception):
    """Something a person can mend. The message says what is wrong, where, and what it takes."""


class RecipeError(LimbeckError):
    """A recipe that cannot be run; one line for each mistake."""

    def __init__(self, message: str) -> None:
        # What a file says goes to a terminal: nothing in it may act there.
        super().__init__("\n".join(map(printable, message.split("\n"))))


def printable(text: str) -> str:
    """One line, with what cannot be seen written out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def in_a_line(error: BaseException, most: int | None = 200) -> str:
    """What another library says of an error, for a message of our own: one line of at most so many characters."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def shown(value: object, most: int = 60) -> str:
    """A value from Python as Python writes it, in one line of at most so many characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a caller's own object may do as it likes, and very long integers have no text
        text = type(value).__name__
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def nearest(word: str, valid: Iterable[str]) -> list[str]:
    """The valid word that is most like `word`, or nothing where none is near.

    Spelt otherwise (`resnet-20`), of another library (`adam_w`, `kd`), mistyped, or cut short.
    """
    words = sorted(valid)
    same = [other for other in words if simple(other) == simple(word)] if simple(word) else []
    called = [other for other in meant_by(word) if other in words]
    begun = [other for other in words if len(word) > 2 and other.startswith(word)]
    for found in (same, called, get_close_matches(word[:100], words, n=1, cutoff=0.6), begun):
        if found:
            return found[:1]
    return []


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or the list of what exists where nothing is near."""
    words = sorted(valid)
    for near in nearest(str(word), words):
        return f"; did you mean {near!r}?"
    return f"; there is {', '.join(words)}" if words else ""

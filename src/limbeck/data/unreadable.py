"""Images that cannot be used: all of a set are found in one pass, and told together or left out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from limbeck.errors import LimbeckError, did_you_mean, printable

from .decode import WHITE

SHOWN = 20
CHOICES = ("refuse", "skip")
T = TypeVar("T")


class Spoilt(NamedTuple):
    """What an error calls a file, row or folder, and why it cannot be used."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True)
class Reading:
    """How the images of a set are read; what that depends on is known once all have been looked at.

    left_out: by what an error calls them. white: the value of 16-bit grey that becomes 255 (see `images.py`).
    """

    left_out: frozenset[str] = frozenset()
    white: int = WHITE


class SpoiltError(LimbeckError):
    """Some of a set's images cannot be used. found: all of them."""

    def __init__(self, found: Sequence[Spoilt], advice: str = "") -> None:
        self.found = tuple(found)
        super().__init__(_told(self.found, advice))


class ReadAgainError(Exception):
    """All images were looked at, and some have to be read otherwise. Caught by `read_fittingly`."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading


def check_choice(choice: str) -> None:
    """Raises LimbeckError unless it is one of `CHOICES`."""
    if choice not in CHOICES:
        raise LimbeckError(f"spoilt takes refuse or skip; got {choice!r}{did_you_mean(str(choice), CHOICES)}")


def read_fittingly(read: Callable[[Reading], T]) -> T:
    """Read a set, and once more where it turns out that images are to be left out or that its grey has 12 bits."""
    reading = Reading()
    while True:
        try:
            return read(reading)
        except ReadAgainError as again:
            reading = again.reading


def advice(source: str, path: str) -> str:
    """What to do about spoilt images of a source of one's own."""
    command = f"limbeck check {shlex.quote(f'{source}:{path}')} --out spoilt.txt"
    return f"`{command}` lists them all, data.spoilt=skip leaves them out"


def _told(found: Sequence[Spoilt], advice: str) -> str:
    if len(found) == 1:
        return printable(str(found[0]))
    lines = [f"{len(found):,} images or folders cannot be used" + (f"; {advice}:" if advice else ":")]
    lines += [f"  {printable(str(spoilt))}" for spoilt in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"  and {len(found) - SHOWN:,} more")
    return "\n".join(lines)

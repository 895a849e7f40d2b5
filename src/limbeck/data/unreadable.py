"""Images that cannot be used: one pass finds them all, and they are reported together or skipped."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from limbeck.errors import LimbeckError, did_you_mean, printable

from .decode import WHITE

MAX_LISTED = 20
CHOICES = ("refuse", "skip")
T = TypeVar("T")


class Unreadable(NamedTuple):
    """A file, row or folder as errors name it, and why it cannot be used."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True)
class ReadOptions:
    """How the images of a set are read. The right options are known only after all images have been read once.

    left_out: skipped images, as errors name them. white: the value of 16-bit grey that becomes 255 (see `decode.py`).
    """

    left_out: frozenset[str] = frozenset()
    white: int = WHITE


class UnreadableError(LimbeckError):
    """Some of a set's images cannot be used. found: all of them."""

    def __init__(self, found: Sequence[Unreadable], advice: str = "") -> None:
        self.found = tuple(found)
        super().__init__(_message(self.found, advice))


class RereadError(Exception):
    """All images were read, and the set must be read again with other options. Caught by `read_consistently`."""

    def __init__(self, reading: ReadOptions) -> None:
        self.reading = reading


def check_spoilt_option(choice: str) -> None:
    """Raises LimbeckError unless it is one of `CHOICES`."""
    if choice not in CHOICES:
        raise LimbeckError(f"spoilt takes refuse or skip; got {choice!r}{did_you_mean(str(choice), CHOICES)}")


def read_consistently(read: Callable[[ReadOptions], T]) -> T:
    """Read a set, and read it again if images turn out to be skipped or its grey levels to have 12 bits."""
    reading = ReadOptions()
    while True:
        try:
            return read(reading)
        except RereadError as again:
            reading = again.reading


def advice(source: str, path: str) -> str:
    """What to do about unreadable images of a user's own source."""
    command = f"limbeck check {shlex.quote(f'{source}:{path}')} --out spoilt.txt"
    return f"`{command}` lists them all, data.spoilt=skip skips them"


def _message(found: Sequence[Unreadable], advice: str) -> str:
    if len(found) == 1:
        return printable(str(found[0]))
    lines = [f"{len(found):,} images or folders cannot be used" + (f"; {advice}:" if advice else ":")]
    lines += [f"  {printable(str(image))}" for image in found[:MAX_LISTED]]
    if len(found) > MAX_LISTED:
        lines.append(f"  and {len(found) - MAX_LISTED:,} more")
    return "\n".join(lines)

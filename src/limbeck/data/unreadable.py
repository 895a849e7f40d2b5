"""Unreadable images: one pass finds all of them and either reports them together or skips them."""

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
    """A file, row or folder that cannot be used, and the reason."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True)
class ReadOptions:
    """How the images of a data set are read. The right options are known only after all images have been read once.

    skipped: images to skip, as error messages name them. white: the 16-bit grey value that becomes 255 (see `decode`).
    """

    skipped: frozenset[str] = frozenset()
    white: int = WHITE


class UnreadableError(LimbeckError):
    """Some images of a data set cannot be used. found: all of them."""

    def __init__(self, found: Sequence[Unreadable], advice: str = "") -> None:
        self.found = tuple(found)
        super().__init__(_message(self.found, advice))


class RereadError(Exception):
    """The data set must be read again with other options. Caught by `read_consistently`."""

    def __init__(self, reading: ReadOptions) -> None:
        self.reading = reading


def check_spoilt_option(choice: str) -> None:
    """Raises LimbeckError unless `choice` is one of `CHOICES`."""
    if choice not in CHOICES:
        raise LimbeckError(f"spoilt must be refuse or skip; got {choice!r}{did_you_mean(str(choice), CHOICES)}")


def read_consistently(read: Callable[[ReadOptions], T]) -> T:
    """Read a data set, and read it again if images must be skipped or its 16-bit grey images have 12-bit data."""
    reading = ReadOptions()
    while True:
        try:
            return read(reading)
        except RereadError as again:
            reading = again.reading


def advice(source: str, path: str) -> str:
    """The advice on unreadable images in a user's own source."""
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

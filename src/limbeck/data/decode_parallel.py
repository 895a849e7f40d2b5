"""Decode many images, in order and on all cores, to blocks of pixels of one size."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from limbeck.console import progress_bar
from limbeck.errors import LimbeckError

from . import decode
from .unreadable import ReadOptions, RereadError, Unreadable, UnreadableError

BLOCK = 32  # images a task: small, since what waits is held in memory
MAX_NATIVE_SIDE = 128  # pixels a side: small images of one size are kept as they are
PHOTO_SIZE = 224  # pixels a side, where nobody names one

T = TypeVar("T")


class EncodedImage(NamedTuple):
    """An image not yet decoded, its name in error messages, and its label."""

    source: decode.Source
    where: str
    label: int


class _Block(NamedTuple):
    """pixels `[B, H, W, 3]` and labels `[B]`; of unreadable images the pixels mean nothing.

    brightest: of the 16-bit grey images, -1 without any. originals: `[B, H, W, 3]` where all have one small size.
    """

    pixels: np.ndarray
    labels: np.ndarray
    unreadable: list[Unreadable]
    brightest: int
    originals: np.ndarray | None


class OriginalsHash:
    """A hash of the pixels of a set as they are before they are fitted, if all have one size that would be kept.

    shape: height and width of all; None before the first, and once two differ or one is larger (`alike` tells).
    """

    def __init__(self) -> None:
        self.pixels = hashlib.sha256()
        self.shape: tuple[int, int] | None = None
        self.alike = True

    def add(self, originals: np.ndarray | None) -> None:
        """The next images `[B, H, W, 3]`; None where they differ among themselves."""
        shape = None if originals is None else originals.shape[1:3]
        self.alike = self.alike and shape is not None and shape == (self.shape or shape)
        self.shape = shape if self.alike else None
        if self.alike and originals is not None:
            self.pixels.update(originals.data)


def check_image_size(image_size: int | None) -> None:
    """Raises LimbeckError unless it is None or a side that can be stored."""
    if image_size is None:
        return
    if isinstance(image_size, bool) or not isinstance(image_size, int) or not 4 <= image_size <= 1024:
        raise LimbeckError(f"image_size is a whole number of pixels from 4 to 1024; got {image_size!r}")


def choose_shape(name: str, items: Iterable[EncodedImage], image_size: int | None) -> tuple[int, int]:
    """Height and width in which a set is kept.

    `image_size` where it is given; else the images' own if they share one of at most 128 pixels a side; else
    224, with a notice. Only headers are read; an image that cannot be opened has no say, `decoded` will name it.
    """
    if image_size is not None:
        return image_size, image_size
    shared, empty = None, True
    with decode.quiet_pillow():
        for item in items:
            empty = False
            try:
                shape = decode.size_of(item.source, item.where)
            except LimbeckError:
                continue
            if max(shape) > MAX_NATIVE_SIDE or shape != (shared or shape):
                progress_bar.notice(
                    f"{name}: photos are stored as {PHOTO_SIZE} x {PHOTO_SIZE}; image_size: … names another"
                )
                return PHOTO_SIZE, PHOTO_SIZE
            shared = shape
    if empty:
        raise LimbeckError(f"{name}: holds no image")
    return shared or (PHOTO_SIZE, PHOTO_SIZE)


def decode_blocks(
    items: Iterable[EncodedImage],
    shape: tuple[int, int],
    *,
    fitted: bool = True,
    reading: ReadOptions | None = None,
    known: Sequence[Unreadable] = (),
    skip: bool = False,
    advice: str = "",
    originals: OriginalsHash | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of images `[B, H, W, 3]` and labels `[B]`.

    All images are read, but no further block is yielded once one of them is unreadable, or if one was known to be.

    fitted: images of another size are fitted (see `decode.fit`); else they are refused.
    reading: how to read them; None takes 16-bit grey as it is. known: images known in advance to be unusable.
    skip: skip unreadable images. advice: what a user may do about several of them. originals: receives all images.
    Raises UnreadableError at the end, which lists all unreadable images; RereadError if some are to be skipped or the
    set's 16-bit grey has 12 bits.
    """
    unreadable, brightest = list(known), -1
    white = reading.white if reading else decode.WHITE
    with decode.quiet_pillow():
        keep = originals is not None
        for block in map_blocks(items, lambda some: _decode_block(some, shape, fitted, white, keep=keep)):
            unreadable += block.unreadable
            brightest = max(brightest, block.brightest)
            if not unreadable:
                if originals is not None:
                    originals.add(block.originals)
                yield block.pixels, block.labels
    if unreadable and not (skip and reading):
        raise UnreadableError(unreadable, advice)
    if reading is None:
        return
    white = decode.white_level(brightest) if brightest >= 0 else reading.white
    fitting = ReadOptions(reading.left_out | {where for where, _ in unreadable}, white)
    if fitting != reading:
        raise RereadError(fitting)


def map_blocks(items: Iterable[EncodedImage], work: Callable[[list[EncodedImage]], T]) -> Iterator[T]:
    """Apply `work` to blocks of images on all cores; results come in order."""
    waiting: deque = deque()
    threads = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    try:
        for block in _blocks(items):
            waiting.append(pool.submit(work, block))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _blocks(items: Iterable[EncodedImage]) -> Iterator[list[EncodedImage]]:
    source = iter(items)
    while block := list(islice(source, BLOCK)):
        yield block


def _decode_block(block: list[EncodedImage], shape: tuple[int, int], fitted: bool, white: int, *, keep: bool) -> _Block:
    pixels = np.empty((len(block), *shape, 3), np.uint8)
    originals: list[np.ndarray] = []
    unreadable: list[Unreadable] = []
    brightest = -1
    for place, item in enumerate(block):
        try:
            image = decode.decode_one(item.source, item.where, white)
            pixels[place] = _shaped(image.pixels, shape, fitted)
            if keep and max(image.pixels.shape) <= MAX_NATIVE_SIDE:
                originals.append(image.pixels)
            brightest = max(brightest, -1 if image.brightest is None else image.brightest)
        except LimbeckError as error:
            unreadable.append(Unreadable(item.where, str(error).removeprefix(f"{item.where}: ")))
        except _UnfitError as error:
            unreadable.append(Unreadable(item.where, str(error)))
    alike = len(originals) == len(block) and len({image.shape for image in originals}) == 1
    labels = np.array([item.label for item in block], np.int64)
    return _Block(pixels, labels, unreadable, brightest, np.stack(originals) if alike else None)


class _UnfitError(Exception):
    """A reason, to which the image's name is added."""


def _shaped(image: np.ndarray, shape: tuple[int, int], fitted: bool) -> np.ndarray:
    height, width = image.shape[:2]
    if (height, width) == shape:
        return image
    if not fitted:
        raise _UnfitError(f"{height} x {width} pixels; {shape[0]} x {shape[1]} are expected")
    if shape[0] != shape[1]:  # only a shape that all images share is not square
        raise _UnfitError(f"{height} x {width} pixels where {shape[0]} x {shape[1]} were seen; did it change?")
    return decode.fit(image, shape[0])

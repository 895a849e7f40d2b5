"""Decode many images on all cores, in order, to blocks of pixels of one size."""

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

BLOCK_SIZE = 32  # images per task; small, because decoded blocks wait in memory
MAX_NATIVE_SIDE = 128  # pixels; images of one size up to this side are stored unchanged
PHOTO_SIZE = 224  # pixels; default side of photos

T = TypeVar("T")


class EncodedImage(NamedTuple):
    """An image that is not yet decoded, its name in error messages, and its label."""

    source: decode.Source
    where: str
    label: int


class _Block(NamedTuple):
    """One decoded block.

    pixels: `[B, H, W, 3]`; undefined for unreadable images. labels: `[B]`. brightest: the largest value of the 16-bit
    grey images, or -1 without any. originals: images before resizing, `[B, H, W, 3]`, if all have the same small size.
    """

    pixels: np.ndarray
    labels: np.ndarray
    unreadable: list[Unreadable]
    brightest: int
    originals: np.ndarray | None


class OriginalsHash:
    """A hash of the pixels of a data set before resizing, if all images have the same small size.

    shape: height and width of all images; None before the first image and once `alike` is false. alike: whether all
    images so far have the same size, of at most `MAX_NATIVE_SIDE` pixels a side.
    """

    def __init__(self) -> None:
        self.pixels = hashlib.sha256()
        self.shape: tuple[int, int] | None = None
        self.alike = True

    def add(self, originals: np.ndarray | None) -> None:
        """Add the next images `[B, H, W, 3]`; None if their sizes differ or are too large."""
        shape = None if originals is None else originals.shape[1:3]
        self.alike = self.alike and shape is not None and shape == (self.shape or shape)
        self.shape = shape if self.alike else None
        if self.alike and originals is not None:
            self.pixels.update(originals.data)


def check_image_size(image_size: int | None) -> None:
    """Raises LimbeckError unless `image_size` is None or a valid side in pixels."""
    if image_size is None:
        return
    if isinstance(image_size, bool) or not isinstance(image_size, int) or not 4 <= image_size <= 1024:
        raise LimbeckError(f"image_size must be an integer from 4 to 1024 (pixels); got {image_size!r}")


def choose_shape(name: str, items: Iterable[EncodedImage], image_size: int | None) -> tuple[int, int]:
    """Height and width at which a data set is stored.

    This is `image_size` if given. Otherwise it is the size of the images, if all share one of at most 128 pixels a
    side, or else 224 x 224, with a notice. Only headers are read. Unreadable images are ignored here; `decode_blocks`
    reports them.
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
                    f"{name}: photos are stored as {PHOTO_SIZE} x {PHOTO_SIZE}; to change this, set image_size"
                )
                return PHOTO_SIZE, PHOTO_SIZE
            shared = shape
    if empty:
        raise LimbeckError(f"{name}: contains no images")
    return shared or (PHOTO_SIZE, PHOTO_SIZE)


def decode_blocks(
    items: Iterable[EncodedImage],
    shape: tuple[int, int],
    *,
    resize: bool = True,
    reading: ReadOptions | None = None,
    known: Sequence[Unreadable] = (),
    skip: bool = False,
    advice: str = "",
    originals: OriginalsHash | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield blocks of images `[B, H, W, 3]` and labels `[B]`.

    After the first unreadable image, the rest is still read, so that one error reports all of them, but no more blocks
    are yielded.

    resize: resize images of another size (see `decode.resize_centre_crop`) instead of rejecting them.
    reading: options for reading; None keeps the full range of 16-bit grey. known: images already known to be unusable.
    skip: skip unreadable images. advice: how to deal with several unreadable images. originals: receives the images
    before resizing.
    Raises UnreadableError at the end, which lists all unreadable images. Raises RereadError if images must be skipped
    or if the 16-bit grey images have 12-bit data.
    """
    unreadable, brightest = list(known), -1
    white = reading.white if reading else decode.WHITE
    with decode.quiet_pillow():
        keep_originals = originals is not None

        def decode_block(encoded: list[EncodedImage]) -> _Block:
            return _decode_block(encoded, shape, resize, white, keep_originals=keep_originals)

        for block in map_blocks(items, decode_block):
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
    required = ReadOptions(reading.skipped | {where for where, _ in unreadable}, white)
    if required != reading:
        raise RereadError(required)


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
    while block := list(islice(source, BLOCK_SIZE)):
        yield block


def _decode_block(
    block: list[EncodedImage], shape: tuple[int, int], resize: bool, white: int, *, keep_originals: bool
) -> _Block:
    pixels = np.empty((len(block), *shape, 3), np.uint8)
    originals: list[np.ndarray] = []
    unreadable: list[Unreadable] = []
    brightest = -1
    for place, item in enumerate(block):
        try:
            image = decode.decode_one(item.source, item.where, white)
            pixels[place] = _to_shape(image.pixels, shape, resize)
            if keep_originals and max(image.pixels.shape) <= MAX_NATIVE_SIDE:
                originals.append(image.pixels)
            brightest = max(brightest, -1 if image.brightest is None else image.brightest)
        except LimbeckError as error:
            unreadable.append(Unreadable(item.where, str(error).removeprefix(f"{item.where}: ")))
        except _WrongSizeError as error:
            unreadable.append(Unreadable(item.where, str(error)))
    alike = len(originals) == len(block) and len({image.shape for image in originals}) == 1
    labels = np.array([item.label for item in block], np.int64)
    return _Block(pixels, labels, unreadable, brightest, np.stack(originals) if alike else None)


class _WrongSizeError(Exception):
    """Why the size of an image is wrong; the name of the image is added later."""


def _to_shape(image: np.ndarray, shape: tuple[int, int], resize: bool) -> np.ndarray:
    height, width = image.shape[:2]
    if (height, width) == shape:
        return image
    if not resize:
        raise _WrongSizeError(f"{height} x {width} pixels; expected {shape[0]} x {shape[1]}")
    if shape[0] != shape[1]:  # `choose_shape` found this size in every header
        raise _WrongSizeError(f"{height} x {width} pixels; expected {shape[0]} x {shape[1]}; did the file change?")
    return decode.resize_centre_crop(image, shape[0])

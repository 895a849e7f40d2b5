"""Many images to blocks of pixels of one size, in their order, on all cores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from limbeck.runs.errors import LimbeckError

from . import images, progress

BLOCK = 32  # images a task: small, since what waits is held in memory
KEPT_UP_TO = 128  # pixels a side: small images of one size are kept as they are
PHOTO_SIZE = 224  # pixels a side, where nobody names one


class Item(NamedTuple):
    """An image that is not decoded yet, what an error calls it, and its label."""

    source: bytes | Path
    where: str
    label: int


def check_image_size(image_size: int | None) -> None:
    """Raises LimbeckError unless it is None or a side that can be stored."""
    if image_size is None:
        return
    if isinstance(image_size, bool) or not isinstance(image_size, int) or not 4 <= image_size <= 1024:
        raise LimbeckError(f"image_size is a whole number of pixels from 4 to 1024; got {image_size!r}")


def stored_shape(name: str, items: Iterable[Item], image_size: int | None) -> tuple[int, int]:
    """Height and width in which a set is kept.

    `image_size` where it is given; else the images' own if they share one of at most 128 pixels a side; else
    224, with a notice. Only headers are read. Raises LimbeckError for an image that cannot be opened.
    """
    if image_size is not None:
        return image_size, image_size
    shared = None
    with images.quiet():
        for item in items:
            shape = images.size_of(item.source, item.where)
            if max(shape) > KEPT_UP_TO or shape != (shared or shape):
                progress.notice(
                    f"{name}: photos are stored as {PHOTO_SIZE} x {PHOTO_SIZE}; image_size: … names another"
                )
                return PHOTO_SIZE, PHOTO_SIZE
            shared = shape
    if shared is None:
        raise LimbeckError(f"{name}: holds no image")
    return shared


def decoded(
    items: Iterable[Item], shape: tuple[int, int], *, fitted: bool = True
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of images `[B, H, W, 3]` and labels `[B]`.

    fitted: images of another size are fitted (see `images.fit`); else they are refused.
    Raises LimbeckError for the first image that cannot be decoded or is refused.
    """
    waiting: deque = deque()
    threads = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    try:
        with images.quiet():
            for block in _blocks(items):
                waiting.append(pool.submit(_decode_block, block, shape, fitted))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _blocks(items: Iterable[Item]) -> Iterator[list[Item]]:
    source = iter(items)
    while block := list(islice(source, BLOCK)):
        yield block


def _decode_block(block: list[Item], shape: tuple[int, int], fitted: bool) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.empty((len(block), *shape, 3), np.uint8)
    for place, item in enumerate(block):
        image = images.decode(item.source, item.where)
        if image.shape[:2] != shape:
            if not fitted:
                height, width = image.shape[:2]
                raise LimbeckError(f"{item.where}: {height} x {width} pixels; {shape[0]} x {shape[1]} are expected")
            if shape[0] != shape[1]:  # only a shape that all images share is not square
                raise LimbeckError(f"{item.where}: {image.shape[:2]} pixels where {shape} were seen; did it change?")
            image = images.fit(image, shape[0])
        pixels[place] = image
    return pixels, np.array([item.label for item in block], np.int64)

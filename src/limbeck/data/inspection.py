"""Inspect all images of a source: class counts, sizes, duplicates and unreadable images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from limbeck.console import progress_bar
from limbeck.errors import LimbeckError
from limbeck.types import Dataset

from . import decode
from .cache_writer import SPLITS
from .decode_parallel import EncodedImage, map_blocks
from .inventory import Inventory
from .unreadable import Unreadable


class ImagePlace(NamedTuple):
    """The location, split and label of an image."""

    where: str
    split: str
    label: int


@dataclass
class Inspection:
    """The findings in a source.

    counts: number of readable images of each class, `[K]`, by split. sizes: number of images by (height, width).
    duplicates: pairs of images with equal pixels, the first occurrence and a later one.
    unreadable: images that cannot be used, and other errors. notes: remarks for the user, one line each.
    """

    class_names: tuple[str, ...]
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    duplicates: list[tuple[ImagePlace, ImagePlace]] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _first: dict[bytes, ImagePlace] = field(default_factory=dict, repr=False)

    def add(self, seen: ImagePlace, shape: tuple[int, int], digest: bytes) -> None:
        """Add a readable image."""
        self.counts.setdefault(seen.split, np.zeros(len(self.class_names), np.int64))[seen.label] += 1
        self.sizes[shape] += 1
        first = self._first.setdefault(digest, seen)
        if first is not seen:
            self.duplicates.append((first, seen))


def inspect_inventory(found: Inventory, name: str) -> Inspection:
    """Decode every image without storing it. Unreadable images are collected, not raised."""
    seen = Inspection(found.class_names, unreadable=[*found.mistakes, *found.unreadable], notes=list(found.notes))
    with progress_bar.bar(f"inspecting {name}", found.count) as advance, decode.quiet_pillow():
        for split in SPLITS:
            items = found.splits[split]() if split in found.splits else iter(())
            for block in map_blocks(items, _inspect_block):
                for item, result in block:
                    if isinstance(result, str):
                        seen.unreadable.append(Unreadable(item.where, result))
                    else:
                        seen.add(ImagePlace(item.where, split, item.label), *result)
                advance(len(block))
    return seen


def _inspect_block(block: list[EncodedImage]) -> list[tuple[EncodedImage, tuple[tuple[int, int], bytes] | str]]:
    """(height, width) and a hash of the pixels of each image, or the reason why it cannot be used."""
    results: list[tuple[EncodedImage, tuple[tuple[int, int], bytes] | str]] = []
    for item in block:
        without_bytes = item._replace(source=None)  # results wait in memory
        try:
            pixels = decode.decode(item.source, item.where)
            results.append((without_bytes, (pixels.shape[:2], _digest(pixels))))
        except LimbeckError as error:
            results.append((without_bytes, str(error).removeprefix(f"{item.where}: ")))
    return results


def inspect_dataset(dataset: Dataset) -> Inspection:
    """Inspect images that are already decoded."""
    seen = Inspection(dataset.class_names, notes=list(dataset.notes))
    splits: Mapping[str, object] = {split: getattr(dataset, split) for split in SPLITS}
    for split, number, pixels, label in _stored(splits):
        seen.add(ImagePlace(f"{split} image {number}", split, label), pixels.shape[:2], _digest(pixels))
    return seen


def _stored(splits: Mapping[str, object]) -> Iterator[tuple[str, int, np.ndarray, int]]:
    for split, of_split in splits.items():
        if of_split is not None:
            pixels = of_split.stored.permute(0, 2, 3, 1).numpy()  # pyright: ignore[reportAttributeAccessIssue]
            labels = of_split.labels.tolist()  # pyright: ignore[reportAttributeAccessIssue]
            for number, label in enumerate(labels):
                yield split, number, pixels[number], label


def _digest(pixels: np.ndarray) -> bytes:
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()

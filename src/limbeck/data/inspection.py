"""All images of a source looked at once: how many of each class, how large, which twice, which unreadable."""

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
    """Where an image was met."""

    where: str
    split: str
    label: int


@dataclass
class Inspection:
    """What was found in a source.

    counts: images of each class that can be used, `[K]`, by split. sizes: of images, by height and width.
    twice: pairs of images that are pixel for pixel equal: the one met first, and the other.
    unreadable: images that cannot be used, and other mistakes. notes: what a person should know, a line each.
    """

    class_names: tuple[str, ...]
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    twice: list[tuple[ImagePlace, ImagePlace]] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _first: dict[bytes, ImagePlace] = field(default_factory=dict, repr=False)

    def add(self, seen: ImagePlace, shape: tuple[int, int], digest: bytes) -> None:
        """An image that can be used."""
        self.counts.setdefault(seen.split, np.zeros(len(self.class_names), np.int64))[seen.label] += 1
        self.sizes[shape] += 1
        first = self._first.setdefault(digest, seen)
        if first is not seen:
            self.twice.append((first, seen))


def inspect_inventory(found: Inventory, name: str) -> Inspection:
    """Decode every image as it is. Nothing is stored, and nothing that is unreadable is raised."""
    seen = Inspection(found.class_names, unreadable=[*found.mistakes, *found.unreadable], notes=list(found.notes))
    with progress_bar.bar(f"looking at {name}", found.count) as advance, decode.quiet_pillow():
        for split in SPLITS:
            items = found.splits[split]() if split in found.splits else iter(())
            for block in map_blocks(items, _inspect_block):
                for item, looked in block:
                    if isinstance(looked, str):
                        seen.unreadable.append(Unreadable(item.where, looked))
                    else:
                        seen.add(ImagePlace(item.where, split, item.label), *looked)
                advance(len(block))
    return seen


def _inspect_block(block: list[EncodedImage]) -> list[tuple[EncodedImage, tuple[tuple[int, int], bytes] | str]]:
    """Height, width and a hash of the pixels of each image, or why it cannot be used."""
    looked: list[tuple[EncodedImage, tuple[tuple[int, int], bytes] | str]] = []
    for item in block:
        place = item._replace(source=None)  # its bytes need not wait
        try:
            pixels = decode.decode(item.source, item.where)
            looked.append((place, (pixels.shape[:2], _digest(pixels))))
        except LimbeckError as error:
            looked.append((place, str(error).removeprefix(f"{item.where}: ")))
    return looked


def inspect_dataset(dataset: Dataset) -> Inspection:
    """The same of images that are decoded already."""
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
    whole = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    whole.update(np.ascontiguousarray(pixels).data)
    return whole.digest()

"""The list of images in a user's own source, and the cached data set made from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.sources.class_folders import quoted_names
from limbeck.types import Dataset

from . import cache
from .cache_writer import SPLITS, Contents, fingerprint
from .decode import WHITE
from .decode_parallel import MAX_NATIVE_SIDE, EncodedImage, OriginalsHash, choose_shape, decode_blocks
from .splits import small_classes_note
from .unreadable import ReadOptions, Unreadable, UnreadableError, read_consistently


@dataclass(frozen=True)
class Inventory:
    """The images of a user's own source, by split.

    where: the source, as messages name it. class_names: one for each label.
    splits: for each split, a function that yields its images in order. labels: of each split, `[N]`.
    names: of the training images, independent of the location of the source; the validation split depends on them.
    unreadable: files known to be unreadable before any is opened. mistakes: errors that cannot be skipped.
    notes: remarks for the user, one line each.
    """

    where: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Callable[[], Iterator[EncodedImage]]]
    labels: Mapping[str, np.ndarray]
    names: Sequence[str]
    unreadable: Sequence[Unreadable] = ()
    mistakes: Sequence[Unreadable] = ()
    notes: Sequence[str] = ()

    def items(self) -> Iterator[EncodedImage]:
        """All images, in the order train, validation, test."""
        for split in SPLITS:
            if split in self.splits:
                yield from self.splits[split]()

    @property
    def count(self) -> int:
        """Number of images in all splits."""
        return sum(map(len, self.labels.values()))


def cached_dataset(
    name: str,
    entry: str,
    list_images: Callable[[ReadOptions], Inventory],
    *,
    image_size: int | None,
    spoilt: str,
    advice: str,
    notes: Iterable[str] = (),
) -> Dataset:
    """The decoded data set with the key `entry`, from the cache or from the images that `list_images` lists.

    list_images: returns the inventory without the images that the options skip. spoilt: `refuse` or `skip`.
    notes: remarks on the current state of the source, which are not cached.
    Raises UnreadableError that lists everything that cannot be used.
    """
    skip = spoilt == "skip"

    def contents(reading: ReadOptions) -> Contents:
        found = list_images(reading)
        if skip and found.mistakes:
            raise UnreadableError(found.mistakes)
        _check_classes(found, skip)
        shape = choose_shape(name, found.items(), image_size)
        known = () if skip else (*found.mistakes, *found.unreadable)
        originals = OriginalsHash() if image_size is not None else None
        blocks = decode_blocks(
            found.items(), shape, reading=reading, known=known, skip=skip, advice=advice, originals=originals
        )
        return Contents(
            found.class_names,
            {split: len(labels) for split, labels in found.labels.items()},
            shape,
            blocks,
            found.where,
            notes=(*found.notes, *_notes_on(reading, found)),
            split_key=partial(_split_key, found, originals),
        )

    dataset = read_consistently(lambda reading: cache.dataset(name, entry, lambda: contents(reading)))
    return dataclasses.replace(dataset, notes=(*notes, *dataset.notes))


def _check_classes(found: Inventory, skip: bool) -> None:
    """With `skip`: raises UnreadableError for classes without any readable training image."""
    if not skip:
        return  # classes without images are already in `mistakes`
    counts = np.bincount(found.labels["train"], minlength=len(found.class_names))
    empty = [name for name, count in zip(found.class_names, counts.tolist(), strict=True) if not count]
    if empty:
        reason = "all training images of this class are unreadable"
        raise UnreadableError([Unreadable(f"{found.where}: {name!r}", reason) for name in empty])


def _notes_on(reading: ReadOptions, found: Inventory) -> list[str]:
    notes: list[str] = []
    skipped = sorted({*reading.skipped, *(where for where, _ in found.unreadable)})
    if skipped:
        some = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
        notes.append(
            f"{len(skipped):,} of {found.count + len(skipped):,} images are unreadable and were skipped "
            f"(data.spoilt: skip): {some}"
        )
    if reading.white != WHITE:
        notes.append(f"no 16-bit image is brighter than {reading.white}, so this value is white (12-bit data)")
    return notes


def _split_key(found: Inventory, originals: OriginalsHash | None, labels: np.ndarray, meta: Mapping[str, Any]) -> str:
    """The key that decides which images are held out for validation, independent of the stored size.

    Small images of one size are identified by their original pixels, with the fingerprint that they have without
    `image_size`. Photos are identified by names, classes and order.
    """
    shape = originals.shape if originals else tuple(meta["shape"][1:3])
    if shape is not None and max(shape) <= MAX_NATIVE_SIDE:
        if originals is None:
            return ""
        key = fingerprint(originals.pixels, labels, {**meta, "shape": [meta["shape"][0], *shape, 3]})
        return "" if key == meta["fingerprint"] else key
    digest = hashlib.sha256(json.dumps(found.class_names).encode())
    digest.update(found.labels["train"].astype("<i8").tobytes())
    for name in found.names:
        digest.update(f"\n{name}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def files_of(root: Path, items: Iterable[EncodedImage]) -> list[str]:
    """Paths of images relative to `root`, with `/` on every system."""
    return [Path(item.where).relative_to(root).as_posix() for item in items]


def untested_classes_notes(labels: np.ndarray, held: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """A note on the classes without held-out test images, if any. labels: `[N]`. held: `[N]` bool."""
    counts, held_counts = (np.bincount(part, minlength=len(class_names)) for part in (labels, labels[held]))
    return small_classes_note(
        [class_names[label] for label in np.flatnonzero((counts > 0) & (held_counts == 0)).tolist()], "test"
    )


def missing_classes_notes(labels: Mapping[str, np.ndarray], class_names: Sequence[str]) -> list[str]:
    """A note for each evaluation split that lacks classes. labels: `[N]` of each split."""
    notes: list[str] = []
    for split, of_split in labels.items():
        counts = np.bincount(of_split, minlength=len(class_names))
        if split != "train" and (missing := np.flatnonzero(counts == 0)).size:
            names = quoted_names([class_names[label] for label in missing.tolist()])
            notes.append(f"the {split} split has no image of {names}")
    return notes

"""The images of a source before they are decoded, and the cached data set made from them."""

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

from limbeck.data.sources.class_folders import listed
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

    where: the source, for messages. class_names: one for each label.
    splits: for each split a function that yields its images in order. labels: of each split, `[N]`.
    names: of the training images, independent of where the source lies; the validation split depends on them.
    unreadable: what is known to be unreadable before anything is opened. mistakes: what must be corrected and cannot be
    skipped. notes: what a person should know, one line each.
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
        """All images: train, validation, test."""
        for split in SPLITS:
            if split in self.splits:
                yield from self.splits[split]()

    @property
    def count(self) -> int:
        """Of all images."""
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
    """The decoded set of this key, from the cache or from what `list_images` lists.

    list_images: gives the inventory without the images that the options exclude. spoilt: `refuse` or `skip`.
    notes: on the source as it is now; they depend neither on its images nor on the cache.
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
    """With `skip`: raises UnreadableError for classes of which nothing is left to train on."""
    if not skip:
        return  # those without images are mistakes already
    counts = np.bincount(found.labels["train"], minlength=len(found.class_names))
    left = [name for name, count in zip(found.class_names, counts.tolist(), strict=True) if not count]
    if left:
        reason = "without its unreadable images this class has none to train on"
        raise UnreadableError([Unreadable(f"{found.where}: {name!r}", reason) for name in left])


def _notes_on(reading: ReadOptions, found: Inventory) -> list[str]:
    said: list[str] = []
    left_out = sorted({*reading.left_out, *(where for where, _ in found.unreadable)})
    if left_out:
        some = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        said.append(
            f"{len(left_out):,} of {found.count + len(left_out):,} images are unreadable and were skipped "
            f"(data.spoilt: skip): {some}"
        )
    if reading.white != WHITE:
        said.append(f"no 16-bit image is brighter than {reading.white}, so that value is taken for white (12-bit data)")
    return said


def _split_key(found: Inventory, originals: OriginalsHash | None, labels: np.ndarray, meta: Mapping[str, Any]) -> str:
    """What decides which images are held out for validation, whatever the size that they are stored at.

    Small images of one size are known by their pixels as they are: by the fingerprint that they have where nobody
    names a size. Photos are known by names, classes and order.
    """
    shape = originals.shape if originals else tuple(meta["shape"][1:3])
    if shape is not None and max(shape) <= MAX_NATIVE_SIDE:
        if originals is None:
            return ""
        key = fingerprint(originals.pixels, labels, {**meta, "shape": [meta["shape"][0], *shape, 3]})
        return "" if key == meta["fingerprint"] else key
    whole = hashlib.sha256(json.dumps(found.class_names).encode())
    whole.update(found.labels["train"].astype("<i8").tobytes())
    for name in found.names:
        whole.update(f"\n{name}".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def files_of(root: Path, items: Iterable[EncodedImage]) -> list[str]:
    """Paths of images below a folder, as they are written on every system."""
    return [Path(item.where).relative_to(root).as_posix() for item in items]


def untested_classes_notes(labels: np.ndarray, held: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """A line of the classes of which nothing was split off to test on. labels: `[N]`. held: `[N]` bool."""
    counts, out = (np.bincount(part, minlength=len(class_names)) for part in (labels, labels[held]))
    return small_classes_note(
        [class_names[label] for label in np.flatnonzero((counts > 0) & (out == 0)).tolist()], "test"
    )


def missing_classes_notes(labels: Mapping[str, np.ndarray], class_names: Sequence[str]) -> list[str]:
    """A line for each given split that lacks classes. labels: `[N]` of each split."""
    said: list[str] = []
    for split, of_split in labels.items():
        counts = np.bincount(of_split, minlength=len(class_names))
        if split != "train" and (lacking := np.flatnonzero(counts == 0)).size:
            said.append(
                f"the {split} split has no image of {listed([class_names[label] for label in lacking.tolist()])}"
            )
    return said

"""What a source holds before anything is decoded, and from it the set that is stored."""

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
from .decode_parallel import KEPT_UP_TO, Item, Originals, decoded, stored_shape
from .splits import note_on_small
from .unreadable import Reading, Spoilt, SpoiltError, read_fittingly


@dataclass(frozen=True)
class Inventory:
    """The images of a source of one's own, by split.

    where: the source, for a person. class_names: one for each label.
    splits: for each split its images in their order, begun anew by each call. labels: theirs, `[N]`.
    names: of the training images, what they are known by wherever the source lies; the validation split depends on it.
    spoilt: what cannot be read, known before anything is opened. mistakes: what has to be mended and cannot be left
    out. notes: what a person should know, a line each.
    """

    where: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Callable[[], Iterator[Item]]]
    labels: Mapping[str, np.ndarray]
    names: Sequence[str]
    spoilt: Sequence[Spoilt] = ()
    mistakes: Sequence[Spoilt] = ()
    notes: Sequence[str] = ()

    def items(self) -> Iterator[Item]:
        """All images: train, validation, test."""
        for split in SPLITS:
            if split in self.splits:
                yield from self.splits[split]()

    @property
    def count(self) -> int:
        """Of all images."""
        return sum(map(len, self.labels.values()))


def stored(
    name: str,
    entry: str,
    take: Callable[[Reading], Inventory],
    *,
    image_size: int | None,
    spoilt: str,
    advice: str,
    notes: Iterable[str] = (),
) -> Dataset:
    """The decoded set of this key, from the cache or from what `take` lists.

    take: the inventory without what a reading leaves out. spoilt: `refuse` or `skip`. notes: of the source as it is
    now; they follow neither its images nor the cache.
    Raises SpoiltError that names all that cannot be used.
    """
    skip = spoilt == "skip"

    def contents(reading: Reading) -> Contents:
        found = take(reading)
        if skip and found.mistakes:
            raise SpoiltError(found.mistakes)
        _check_classes(found, skip)
        shape = stored_shape(name, found.items(), image_size)
        known = () if skip else (*found.mistakes, *found.spoilt)
        originals = Originals() if image_size is not None else None
        blocks = decoded(
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

    dataset = read_fittingly(lambda reading: cache.dataset(name, entry, lambda: contents(reading)))
    return dataclasses.replace(dataset, notes=(*notes, *dataset.notes))


def _check_classes(found: Inventory, skip: bool) -> None:
    """With `skip`: raises SpoiltError for classes of which nothing is left to train on."""
    if not skip:
        return  # those without images are mistakes already
    counts = np.bincount(found.labels["train"], minlength=len(found.class_names))
    left = [name for name, count in zip(found.class_names, counts.tolist(), strict=True) if not count]
    if left:
        reason = "without its spoilt images this class has none to train on"
        raise SpoiltError([Spoilt(f"{found.where}: {name!r}", reason) for name in left])


def _notes_on(reading: Reading, found: Inventory) -> list[str]:
    said: list[str] = []
    left_out = sorted({*reading.left_out, *(where for where, _ in found.spoilt)})
    if left_out:
        some = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        said.append(
            f"{len(left_out):,} of {found.count + len(left_out):,} images are spoilt and were left out "
            f"(data.spoilt: skip): {some}"
        )
    if reading.white != WHITE:
        said.append(f"no 16-bit image is brighter than {reading.white}, so that value is taken for white (12-bit data)")
    return said


def _split_key(found: Inventory, originals: Originals | None, labels: np.ndarray, meta: Mapping[str, Any]) -> str:
    """What decides which images are held out for validation, whatever the size that they are stored at.

    Small images of one size are known by their pixels as they are: by the fingerprint that they have where nobody
    names a size. Photos are known by names, classes and order.
    """
    shape = originals.shape if originals else tuple(meta["shape"][1:3])
    if shape is not None and max(shape) <= KEPT_UP_TO:
        if originals is None:
            return ""
        key = fingerprint(originals.pixels, labels, {**meta, "shape": [meta["shape"][0], *shape, 3]})
        return "" if key == meta["fingerprint"] else key
    whole = hashlib.sha256(json.dumps(found.class_names).encode())
    whole.update(found.labels["train"].astype("<i8").tobytes())
    for name in found.names:
        whole.update(f"\n{name}".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def files_of(root: Path, items: Iterable[Item]) -> list[str]:
    """Paths of images below a folder, as they are written on every system."""
    return [Path(item.where).relative_to(root).as_posix() for item in items]


def notes_on_untested(labels: np.ndarray, held: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """A line of the classes of which nothing was split off to test on. labels: `[N]`. held: `[N]` bool."""
    counts, out = (np.bincount(part, minlength=len(class_names)) for part in (labels, labels[held]))
    return note_on_small([class_names[label] for label in np.flatnonzero((counts > 0) & (out == 0)).tolist()], "test")


def notes_on_absent(labels: Mapping[str, np.ndarray], class_names: Sequence[str]) -> list[str]:
    """A line for each given split that lacks classes. labels: `[N]` of each split."""
    said: list[str] = []
    for split, of_split in labels.items():
        counts = np.bincount(of_split, minlength=len(class_names))
        if split != "train" and (lacking := np.flatnonzero(counts == 0)).size:
            said.append(
                f"the {split} split has no image of {listed([class_names[label] for label in lacking.tolist()])}"
            )
    return said

"""One pass over decoded images: written to disk, hashed, measured and searched for leaks between splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.console import progress_bar
from limbeck.errors import LimbeckError
from limbeck.types import Normalisation

FORMAT = 1
SPLITS = ("train", "validation", "test")
IMAGES, LABELS, META = "images.npy", "labels.npy", "meta.json"
SMALLEST_SD = 1 / 255  # of a channel that never changes: nothing is divided by zero


@dataclass(frozen=True)
class Contents:
    """What a source has to give, in the order train, validation, test.

    class_names: one for each label.
    sizes: images in each split of `SPLITS`; a split that is not named has none.
    shape: height and width that all images have.
    blocks: pairs of images `[B, H, W, 3]` uint8 and labels `[B]`; read once, lazily.
    source: where this comes from, for a person.
    normalisation: figures that the literature fixes; None measures the training images.
    notes: what a reader of a report should know of these images, a line each.
    split_key: called once all blocks are read, with labels `[N]` and the set's other facts: what decides which images
        are held out for validation; None, or an empty answer: the fingerprint does.
    """

    class_names: tuple[str, ...]
    sizes: Mapping[str, int]
    shape: tuple[int, int]
    blocks: Iterable[tuple[np.ndarray, np.ndarray]]
    source: str
    normalisation: Normalisation | None = None
    notes: tuple[str, ...] = ()
    split_key: Callable[[np.ndarray, Mapping[str, Any]], str] | None = None


def write(contents: Contents, folder: Path, name: str) -> None:
    """Write `images.npy`, `labels.npy` and, last, `meta.json`, without flushing them to the disk.

    Images go through plain writes, not a memory map: a full disk then is an OSError, not a dead process.
    Raises LimbeckError where the source gives fewer or more images than it said, or a label out of range.
    """
    count = sum(contents.sizes.get(split, 0) for split in SPLITS)
    shape = (count, *contents.shape, 3)
    labels = np.empty(count, np.int64)
    pixels, seen = (
        hashlib.sha256(),
        _Measure(contents.sizes.get("train", 0), count - contents.sizes.get("test", 0)),
    )
    done = 0
    with (folder / IMAGES).open("wb") as file, progress_bar.bar(f"decoding {name}", count) as advance:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for images, block_labels in _read(contents):
            images = np.ascontiguousarray(images)
            if images.dtype != np.uint8 or images.shape[1:] != shape[1:] or done + len(images) > count:
                raise ValueError(f"{name}: block {images.dtype} {images.shape} does not fit {shape} at {done}")
            file.write(images.data)
            pixels.update(images.data)
            seen.add(images, done)
            labels[done : done + len(images)] = block_labels
            done += len(images)
            advance(len(images))
    if done != count:
        raise LimbeckError(f"{contents.source}: {done} images where {count} were announced; did the files change?")
    _check_labels(contents, labels)
    with (folder / LABELS).open("wb") as file:
        np.save(file, labels, allow_pickle=False)
    measured = contents.normalisation or seen.normalisation()
    meta = {
        "format": FORMAT,
        "name": name,
        "source": contents.source,
        "class_names": list(contents.class_names),
        "sizes": {split: contents.sizes.get(split, 0) for split in SPLITS},
        "shape": list(shape),
        "normalisation": {"mean": list(measured.mean), "sd": list(measured.sd)},
        "test_images_also_in_train": seen.leaks,
        "notes": [*contents.notes, *([leak_note(seen.leaks, contents.sizes["test"])] if seen.leaks else [])],
    }
    meta["fingerprint"] = fingerprint(pixels, labels, meta)
    meta["split_key"] = contents.split_key(labels, meta) if contents.split_key else ""
    (folder / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
    for note in meta["notes"]:
        progress_bar.notice(f"{name}: {note}")


def leak_note(leaks: int, test: int) -> str:
    """Of test images that are found elsewhere too."""
    return f"{leaks:,} of {test:,} test images are, pixel for pixel, among those that training or validation sees"


def _read(contents: Contents) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The source's blocks; what goes wrong in reading them is the source's affair, not that of the cache."""
    try:
        yield from contents.blocks
    except OSError as error:
        raise LimbeckError(f"{error.filename or contents.source}: cannot be read: {error.strerror or error}") from error


def fingerprint(pixels: Any, labels: np.ndarray, meta: Mapping[str, Any]) -> str:
    """SHA-256 of pixels, labels, class names and sizes.

    pixels: the hash so far, of all images in their order; labels `[N]` int64.
    """
    whole = pixels.copy()
    whole.update(labels.astype("<i8").tobytes())
    rest = {name: meta[name] for name in ("class_names", "sizes", "shape")}
    whole.update(json.dumps(rest, sort_keys=True).encode())
    return whole.hexdigest()


def _check_labels(contents: Contents, labels: np.ndarray) -> None:
    names = contents.class_names
    wrong = labels[(labels < 0) | (labels >= len(names))]
    if wrong.size:
        raise LimbeckError(
            f"{contents.source}: label {wrong[0]}, but there are {len(names)} classes (0 to {len(names) - 1})"
        )
    in_train = np.bincount(labels[: contents.sizes.get("train", 0)], minlength=len(names))
    if not in_train.all():
        raise LimbeckError(f"{contents.source}: class {names[int(in_train.argmin())]!r} has no image to train on")
    if not contents.sizes.get("test", 0):
        raise LimbeckError(f"{contents.source}: there is no image to test on")


class _Measure:
    """Exact counts of each pixel value in the training images, and test images that were seen before."""

    def __init__(self, train: int, seen: int) -> None:
        self.train, self.seen = train, seen  # images before the end of train, before the start of test
        self.counts = np.zeros((3, 256), np.int64)
        self.digests: set[bytes] = set()
        self.leaks = 0

    def add(self, images: np.ndarray, start: int) -> None:
        of_train = images[: max(0, self.train - start)]
        for channel in range(3):
            self.counts[channel] += np.bincount(of_train[..., channel].ravel(), minlength=256)
        for place, image in enumerate(images, start):
            digest = hashlib.blake2b(image.data, digest_size=16).digest()
            if place < self.seen:
                self.digests.add(digest)
            else:
                self.leaks += digest in self.digests

    def normalisation(self) -> Normalisation:
        values = np.arange(256) / 255
        share = self.counts / self.counts.sum(axis=1, keepdims=True)
        mean = share @ values
        variance = (share * (values - mean[:, None]) ** 2).sum(axis=1)
        sd = np.maximum(np.sqrt(variance), SMALLEST_SD)
        return Normalisation(tuple(mean.tolist()), tuple(sd.tolist()))

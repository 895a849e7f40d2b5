"""Write decoded images to the cache. One pass stores and hashes them, computes statistics and finds leaks."""

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
SMALLEST_SD = 1 / 255  # for constant channels, to avoid a division by zero


@dataclass(frozen=True)
class Contents:
    """The images and metadata of a data source, in the order train, validation, test.

    class_names: one for each label.
    sizes: number of images in each split of `SPLITS`; a missing split has none.
    shape: height and width of all images.
    blocks: pairs of images `[B, H, W, 3]` uint8 and labels `[B]`; read once, lazily.
    source: the origin of the images, as messages and listings name it.
    normalisation: statistics from the literature; None computes them from the training images.
    notes: what the report should say about these images, one line each.
    split_key: called after all blocks are read, with the labels `[N]` and the metadata. Returns the key that decides
        which images are held out for validation. None, or an empty key, means the fingerprint.
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
    """Write `images.npy`, `labels.npy` and finally `meta.json`, without flushing them to disk.

    Images go through plain writes, not a memory map, so that a full disk raises OSError instead of killing the process.
    Raises LimbeckError if the source yields another number of images than it declares, or an invalid label.
    """
    count = sum(contents.sizes.get(split, 0) for split in SPLITS)
    shape = (count, *contents.shape, 3)
    labels = np.empty(count, np.int64)
    pixels = hashlib.sha256()
    statistics = _Statistics(contents.sizes.get("train", 0), count - contents.sizes.get("test", 0))
    done = 0
    with (folder / IMAGES).open("wb") as file, progress_bar.bar(f"decoding {name}", count) as advance:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for images, block_labels in _read(contents):
            images = np.ascontiguousarray(images)
            if images.dtype != np.uint8 or images.shape[1:] != shape[1:] or done + len(images) > count:
                raise ValueError(f"{name}: block {images.dtype} {images.shape} does not fit {shape} at {done}")
            file.write(images.data)
            pixels.update(images.data)
            statistics.add(images, done)
            labels[done : done + len(images)] = block_labels
            done += len(images)
            advance(len(images))
    if done != count:
        raise LimbeckError(f"{contents.source}: {done} images, but {count} were expected; did the files change?")
    _check_labels(contents, labels)
    with (folder / LABELS).open("wb") as file:
        np.save(file, labels, allow_pickle=False)
    normalisation = contents.normalisation or statistics.normalisation()
    meta = {
        "format": FORMAT,
        "name": name,
        "source": contents.source,
        "class_names": list(contents.class_names),
        "sizes": {split: contents.sizes.get(split, 0) for split in SPLITS},
        "shape": list(shape),
        "normalisation": {"mean": list(normalisation.mean), "sd": list(normalisation.sd)},
        "test_images_also_in_train": statistics.leaks,
        "notes": [
            *contents.notes,
            *([leak_note(statistics.leaks, contents.sizes["test"])] if statistics.leaks else []),
        ],
    }
    meta["fingerprint"] = fingerprint(pixels, labels, meta)
    meta["split_key"] = contents.split_key(labels, meta) if contents.split_key else ""
    (folder / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
    for note in meta["notes"]:
        progress_bar.notice(f"{name}: {note}")


def leak_note(leaks: int, test: int) -> str:
    """The note on test images that also occur in another split."""
    return f"{leaks:,} of {test:,} test images are identical, pixel for pixel, to a training or validation image"


def _read(contents: Contents) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The blocks of the source. Errors in reading them name the source, not the cache."""
    try:
        yield from contents.blocks
    except OSError as error:
        raise LimbeckError(f"{error.filename or contents.source}: cannot be read: {error.strerror or error}") from error


def fingerprint(pixels: Any, labels: np.ndarray, meta: Mapping[str, Any]) -> str:
    """SHA-256 of pixels, labels, class names and sizes.

    pixels: the SHA-256 object of all images in order, not modified. labels: `[N]` int64.
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
            f"{contents.source}: label {wrong[0]} is invalid; there are {len(names)} classes (0 to {len(names) - 1})"
        )
    in_train = np.bincount(labels[: contents.sizes.get("train", 0)], minlength=len(names))
    if not in_train.all():
        raise LimbeckError(f"{contents.source}: class {names[int(in_train.argmin())]!r} has no training images")
    if not contents.sizes.get("test", 0):
        raise LimbeckError(f"{contents.source}: there are no test images")


class _Statistics:
    """Counts of each pixel value in the training images, and the number of test images that occur in another split.

    train: number of training images. test_start: index of the first test image.
    """

    def __init__(self, train: int, test_start: int) -> None:
        self.train, self.test_start = train, test_start
        self.counts = np.zeros((3, 256), np.int64)
        self.digests: set[bytes] = set()
        self.leaks = 0

    def add(self, images: np.ndarray, start: int) -> None:
        train_images = images[: max(0, self.train - start)]
        for channel in range(3):
            self.counts[channel] += np.bincount(train_images[..., channel].ravel(), minlength=256)
        for index, image in enumerate(images, start):
            digest = hashlib.blake2b(image.data, digest_size=16).digest()
            if index < self.test_start:
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

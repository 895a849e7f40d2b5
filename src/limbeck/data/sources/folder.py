"""A folder of images of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from limbeck.data import cache
from limbeck.data.decode_parallel import EncodedImage, check_image_size
from limbeck.data.inventory import Inventory, cached_dataset, files_of, missing_classes_notes, untested_classes_notes
from limbeck.data.splits import check_fraction, stratified_mask
from limbeck.data.unreadable import ReadOptions, advice, check_spoilt_option
from limbeck.types import Dataset

from . import class_folders
from .class_folders import Classes, Found


def build(path: str, *, image_size: int | None = None, test: float = 0.2, spoilt: str = "refuse") -> Dataset:
    """Your own images in class folders, with or without train, val and test above them.

    path: a folder of class folders, or one of train/, test/ and perhaps val/ (or valid, validation) that
    hold them. Without a test folder, or where it has no class folders, the val folder is the test; without either,
    `test` is split off, stratified, by a hash of each file's class and name, so that it depends on the data alone.
    Files that are no images are passed over and counted.
    image_size: pixels a side to store; small images of one size are kept as they are, photos become 224.
    spoilt: refuse, or skip images that cannot be read; the report counts them.
    Raises LimbeckError, with the path, for whatever is not as it should be; see `images.py` for what can be
    read.
    """
    root = Path(path).expanduser()
    check_image_size(image_size)
    check_fraction(test)
    check_spoilt_option(spoilt)
    found = _found(root)
    every = [file for classes in found.splits.values() for files in classes.values() for file in files]
    wrong = [*map(str, (*found.mistakes, *found.unreadable))]
    options = {"image_size": image_size, "test": test, "spoilt": spoilt, "wrong": wrong}
    name = f"folder:{root.absolute().name}"
    return cached_dataset(
        name,
        cache.key("folder", options, every),
        lambda reading: _inventory(root, found, test, reading),
        image_size=image_size,
        spoilt=spoilt,
        advice=advice("folder", path),
        notes=found.notes(),
    )


def inventory(path: str, *, test: float = 0.2) -> Inventory:
    """What the folder holds. Raises LimbeckError where it holds no class folders, or others than splits and classes."""
    root = Path(path).expanduser()
    check_fraction(test)
    found = _found(root)
    listed = _inventory(root, found, test, ReadOptions())
    return Inventory(**{**vars(listed), "notes": (*found.notes(), *listed.notes)})


def _found(root: Path) -> Found:
    found = class_folders.find(root)
    if "test" not in found.splits and "validation" in found.splits:
        found.splits["test"] = found.splits.pop("validation")
    return found


def _inventory(root: Path, found: Found, test: float, reading: ReadOptions) -> Inventory:
    class_names = tuple(next(iter(found.splits.values())))
    items = {split: _items(classes, class_names, reading) for split, classes in found.splits.items()}
    notes: list[str] = []
    if "test" not in items:  # one whole, or train alone
        (whole,) = items.values()
        items, notes = _split(whole, root, class_names, test)
    labels = {split: np.array([item.label for item in of_split], np.int64) for split, of_split in items.items()}
    return Inventory(
        str(root),
        class_names,
        {split: lambda of_split=of_split: iter(of_split) for split, of_split in items.items()},
        labels,
        files_of(root, items["train"]),
        found.unreadable,
        found.mistakes,
        notes or missing_classes_notes(labels, class_names),
    )


def _items(classes: Classes, class_names: tuple[str, ...], reading: ReadOptions) -> list[EncodedImage]:
    labels = {name: label for label, name in enumerate(class_names)}
    return [
        EncodedImage(file, str(file), labels[name])
        for name, files in classes.items()
        for file in files
        if str(file) not in reading.left_out
    ]


def _split(
    items: list[EncodedImage], root: Path, class_names: tuple[str, ...], test: float
) -> tuple[Mapping[str, list[EncodedImage]], list[str]]:
    labels = np.array([item.label for item in items], np.int64)
    held = stratified_mask(labels, test, files_of(root, items))
    return {
        "train": [item for item, out in zip(items, held, strict=True) if not out],
        "test": [item for item, out in zip(items, held, strict=True) if out],
    }, untested_classes_notes(labels, held, class_names)

"""A folder of the user's own images."""

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
from .class_folders import Classes, FolderContents


def build(path: str, *, image_size: int | None = None, test: float = 0.2, spoilt: str = "refuse") -> Dataset:
    """Your own images in class folders, either directly or below train, val and test folders.

    path: a folder of class folders, or a folder with train/, test/ and optionally val/ (or valid, validation), each
    with class folders. Without labelled test images, val is the test split. Without either, a stratified fraction
    `test` is held out, chosen by a hash of class and file name, so that it depends only on the data. Files that are
    not images are ignored and counted.
    image_size: stored side in pixels; by default small images of one size are unchanged and photos become 224.
    spoilt: refuse or skip unreadable images; the report counts skipped ones.
    Raises LimbeckError, with the path, for anything unexpected. `limbeck.data.decode` lists the accepted images.
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
    """List the images of the folder. Raises LimbeckError unless it contains class folders, or splits with them."""
    root = Path(path).expanduser()
    check_fraction(test)
    found = _found(root)
    listing = _inventory(root, found, test, ReadOptions())
    return Inventory(**{**vars(listing), "notes": (*found.notes(), *listing.notes)})


def _found(root: Path) -> FolderContents:
    found = class_folders.find_images(root)
    if "test" not in found.splits and "validation" in found.splits:
        found.splits["test"] = found.splits.pop("validation")
    return found


def _inventory(root: Path, found: FolderContents, test: float, reading: ReadOptions) -> Inventory:
    class_names = tuple(next(iter(found.splits.values())))
    items = {split: _items(classes, class_names, reading) for split, classes in found.splits.items()}
    notes: list[str] = []
    if "test" not in items:  # class folders only, or only train
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
        if str(file) not in reading.skipped
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

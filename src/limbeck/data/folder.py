"""A folder of images of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from limbeck.types import Dataset

from . import class_folders, store
from .decoding import Item, check_image_size, decoded, stored_shape
from .split import check_fraction, stratify
from .writing import SPLITS, Contents


def build(path: str, *, image_size: int | None = None, test: float = 0.2) -> Dataset:
    """Your own images in class folders, with or without train, val and test above them.

    path: a folder of class folders, or one of train/, test/ and perhaps val/ (or valid, validation) that
    hold them. Without a test folder the val folder is the test; without either, `test` is split off,
    stratified, by a hash of each file's class and name, so that it depends on the data alone.
    image_size: pixels a side to store; small images of one size are kept as they are, photos become 224.
    Raises LimbeckError, with the path, for whatever is not as it should be; see `images.py` for what can be
    read.
    """
    root = Path(path).expanduser()
    check_image_size(image_size)
    check_fraction(test)
    found = class_folders.find(root)
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    every = [file for classes in found.values() for files in classes.values() for file in files]
    entry = store.key("folder", {"image_size": image_size, "test": test}, every)
    name = f"folder:{root.absolute().name}"
    return store.dataset(name, entry, lambda: _contents(name, root, found, image_size, test))


def _contents(
    name: str, root: Path, found: dict[str, class_folders.Classes], image_size: int | None, test: float
) -> Contents:
    class_names = tuple(next(iter(found.values())))
    items = {split: _items(classes) for split, classes in found.items()}
    if "test" not in items:  # one whole, or train alone
        (whole,) = items.values()
        items = _split(whole, root, class_names, test)
    ordered = {split: items[split] for split in SPLITS if split in items}

    def every() -> Iterator[Item]:
        for of_split in ordered.values():
            yield from of_split

    shape = stored_shape(name, every(), image_size)
    sizes = {split: len(of_split) for split, of_split in ordered.items()}
    return Contents(class_names, sizes, shape, decoded(every(), shape), str(root))


def _items(classes: class_folders.Classes) -> list[Item]:
    return [Item(file, str(file), label) for label, files in enumerate(classes.values()) for file in files]


def _split(items: list[Item], root: Path, class_names: tuple[str, ...], test: float) -> dict[str, list[Item]]:
    labels = np.array([item.label for item in items], np.int64)
    keys = [Path(item.where).relative_to(root).as_posix() for item in items]
    held = stratify(labels, test, keys, [f"{root / name}: this class" for name in class_names])
    return {
        "train": [item for item, out in zip(items, held, strict=True) if not out],
        "test": [item for item, out in zip(items, held, strict=True) if out],
    }

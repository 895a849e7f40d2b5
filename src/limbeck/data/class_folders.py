"""Class folders on disk: what is an image, what is junk, and what is a mistake."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from limbeck.runs.errors import LimbeckError

from .images import SUFFIXES
from .split_names import NAMES, split_of

JUNK = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"}
Classes = dict[str, list[Path]]


def find(root: Path) -> dict[str, Classes]:
    """Images by split and class, in the order of their names; one split `"all"` for class folders alone.

    Raises LimbeckError, with the path, for what is no image, a class with none, classes that differ between
    splits, and folders that are neither splits nor classes.
    """
    if not root.is_dir():
        raise LimbeckError(f"{root}: no such folder; it takes a folder of class folders, or of train/ and test/")
    folders = _folders(root)
    split_folders: dict[str, Path] = {}
    for folder in folders:
        if (split := _split(folder)) is not None:
            if split in split_folders:
                raise LimbeckError(
                    f"{root}: both {split_folders[split].name}/ and {folder.name}/ would be the {split} split"
                )
            split_folders[split] = folder
    if "train" not in split_folders:
        if split_folders and len(split_folders) == len(folders):
            raise LimbeckError(f"{root}: no train/ beside {', '.join(f.name + '/' for f in split_folders.values())}")
        return {"all": _classes(root)}
    for folder in folders:
        if folder not in split_folders.values():
            raise LimbeckError(f"{folder}: beside {split_folders['train'].name}/ only val/ and test/ are expected")
    _refuse_loose_images(root)
    found = {split: _classes(split_folders[split]) for split in NAMES if split in split_folders}
    for split in found:
        _check_same(split_folders["train"], found["train"], split_folders[split], found[split])
    return found


def _split(folder: Path) -> str | None:
    """The split that a folder's whole name says (`test_tubes` is a class)."""
    split = split_of(folder.name)
    return split if split is not None and folder.name.lower() in NAMES[split] else None


def _classes(folder: Path) -> Classes:
    _refuse_loose_images(folder)
    found = {class_folder.name: list(_images(class_folder, ())) for class_folder in _folders(folder)}
    if not found:
        raise LimbeckError(f"{folder}: holds no class folder")
    if len(found) == 1:
        raise LimbeckError(f"{folder}: holds one class, {next(iter(found))!r}; two at least are needed")
    for name, files in found.items():
        if not files:
            raise LimbeckError(f"{folder / name}: this class has no image")
    return found


def _check_same(one: Path, first: Classes, other: Path, second: Classes) -> None:
    sides = [
        (one, sorted(first.keys() - second.keys()), other),
        (other, sorted(second.keys() - first.keys()), one),
    ]
    complaints = [
        f"{has.name}/ has {', '.join(map(repr, only[:5]))}{' and more' * (len(only) > 5)}, which {lacks.name}/ lacks"
        for has, only, lacks in sides
        if only
    ]
    if complaints:
        raise LimbeckError(f"{one.parent}: classes differ: {'; '.join(complaints)}")


def is_junk(name: str) -> bool:
    """Whether a file or folder is what systems and tools leave behind: hidden, or a thumbnail cache and the like."""
    return name.startswith(".") or name.lower() in JUNK


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder) if not is_junk(name))
    except OSError as error:
        raise LimbeckError(f"{folder}: cannot be read: {error.strerror}") from error


def _folders(folder: Path) -> list[Path]:
    return [path for path in _listing(folder) if path.is_dir()]


def _refuse_loose_images(folder: Path) -> None:
    for path in _listing(folder):
        if path.suffix.lower() in SUFFIXES and not path.is_dir():
            raise LimbeckError(f"{path}: an image beside the class folders; which class is it?")


def _images(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Images of a class folder and the folders in it. Links are followed, but not round in a circle.

    above: device and number of the folders that lead here.
    """
    status = folder.stat()
    here = status.st_dev, status.st_ino
    if here in above:
        raise LimbeckError(f"{folder}: a link back to a folder that holds it")
    for path in _listing(folder):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise LimbeckError(f"{path}: cannot be read: {error.strerror}") from error
        if stat.S_ISDIR(mode):
            yield from _images(path, (*above, here))
        elif not stat.S_ISREG(mode):
            raise LimbeckError(f"{path}: not a regular file")
        elif path.suffix.lower() not in ("", *SUFFIXES):
            raise LimbeckError(f"{path}: not an image; a class folder takes {', '.join(SUFFIXES)}")
        else:
            yield path

"""Class folders on disk: what is an image, what lies beside images, and what is a mistake."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from limbeck.data.decode import SUFFIXES, UNREAD_SUFFIXES
from limbeck.data.splits import SPLIT_NAMES, split_of_name
from limbeck.data.unreadable import Unreadable
from limbeck.errors import LimbeckError

JUNK = {
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx", "__pycache__", "@eadir",
    "lost+found", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "found.000",
}  # fmt: skip
"""Of operating systems, network drives and editors; besides all that is hidden or ends as a copy does."""
COPIES = ("~", ".swp", ".swo", ".bak", ".part", ".crdownload", ".tmp")
TEXTS = {"readme", "license", "licence", "copying", "authors", "makefile", "checksums", "md5sums", "sha256sums"}
"""Files that have no suffix, as images may, and are none."""
Classes = dict[str, list[Path]]


@dataclass
class Found:
    """What lies in a folder of class folders.

    splits: images by split and class, in the order of their names; one split `"all"` for class folders alone.
    unreadable: files known to be unreadable before any is opened. mistakes: classes without an image, and links that
    lead back; these cannot be skipped.
    passed_over: how many files of each kind lie among the images and are none.
    unlabelled: name of the folder of test images that has no class folders, if there is one.
    """

    splits: dict[str, Classes] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    mistakes: list[Unreadable] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    unlabelled: str | None = None

    def notes(self) -> list[str]:
        """What a person should know of it, a line each."""
        said: list[str] = []
        if count := self.passed_over.total():
            kinds = [f"{number:,} {kind}" for kind, number in self.passed_over.most_common(6)]
            more = len(self.passed_over) - len(kinds)
            kinds += [f"{more} more kinds"] if more else []
            said.append(f"{count:,} {'files' if count > 1 else 'file'} passed over, no images: {', '.join(kinds)}")
        if self.unlabelled is not None:
            said.append(f"{self.unlabelled}/ holds no class folders, so its images have no labels and are not used")
        return said


def listed(names: Sequence[str]) -> str:
    """The first names in quotes, and how many more there are."""
    more = f" and {len(names) - 5:,} more classes" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def find(root: Path) -> Found:
    """Images by split and class, what else lies there, and what is unreadable.

    Raises LimbeckError, with the path, for images outside classes, classes that train lacks, and folders that are
    neither splits nor classes.
    """
    found = Found()
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
        found.splits["all"] = _classes(root, found)
        return found
    for folder in folders:
        if folder not in split_folders.values():
            raise LimbeckError(f"{folder}: beside {split_folders['train'].name}/ only val/ and test/ are expected")
    _refuse_loose_images(root)
    if "test" in split_folders and _is_unlabelled(split_folders["test"]):
        found.unlabelled = split_folders.pop("test").name
    for split in SPLIT_NAMES:
        if split in split_folders:
            found.splits[split] = _classes(split_folders[split], found, may_be_few=split != "train")
    for split, classes in found.splits.items():
        _check_known(split_folders["train"], found.splits["train"], split_folders[split], classes)
    return found


def _is_unlabelled(folder: Path) -> bool:
    """Whether a folder holds images right below it and no folder: as a contest gives those that it judges by."""
    return not _folders(folder) and any(path.suffix.lower() in SUFFIXES for path in _listing(folder))


def _split(folder: Path) -> str | None:
    """The split that a folder's whole name says (`test_tubes` is a class)."""
    split = split_of_name(folder.name)
    return split if split is not None and folder.name.lower() in SPLIT_NAMES[split] else None


def _classes(folder: Path, found: Found, *, may_be_few: bool = False) -> Classes:
    """Images by class; unreadable and ignored files are added to `found`.

    may_be_few: one class will do, and one without images counts as absent: it is not what is learned from.
    """
    _refuse_loose_images(folder)
    classes = {class_folder.name: list(_images(class_folder, (), found)) for class_folder in _folders(folder)}
    if not classes:
        raise LimbeckError(f"{folder}: holds no class folder")
    if may_be_few:
        return classes
    if len(classes) == 1:
        raise LimbeckError(f"{folder}: holds one class, {next(iter(classes))!r}; two at least are needed")
    found.mistakes += [
        Unreadable(str(folder / name), "this class has no image") for name, files in classes.items() if not files
    ]
    return classes


def _check_known(one: Path, train: Classes, other: Path, classes: Classes) -> None:
    if unknown := sorted(classes.keys() - train.keys()):
        lacking = sorted(train.keys() - classes.keys())
        renamed = f", and {one.name}/ has {listed(lacking)}, which {other.name}/ lacks" if lacking else ""
        raise LimbeckError(
            f"{one.parent}: classes differ: {other.name}/ has {listed(unknown)}, which {one.name}/ lacks{renamed}"
        )


def is_junk(name: str) -> bool:
    """Whether a file or folder is what systems and tools leave behind: hidden, a thumbnail cache, a copy, and so on."""
    return name.startswith(".") or name.lower() in JUNK or name.lower().endswith(COPIES)


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


def _images(folder: Path, above: tuple[tuple[int, int], ...], found: Found) -> Iterator[Path]:
    """Images of a class folder and the folders in it. Links are followed, but not round in a circle.

    above: device and number of the folders that lead here. found: is told what is no image.
    """
    try:
        status = folder.stat()
        names = sorted(os.listdir(folder))
    except OSError as error:
        found.unreadable.append(Unreadable(str(folder), f"cannot be read: {error.strerror}"))
        return
    here = status.st_dev, status.st_ino
    if here in above:
        found.mistakes.append(Unreadable(str(folder), "a link back to a folder that holds it"))
        return
    for name in names:
        path = folder / name
        suffix = path.suffix.lower()
        if is_junk(name):
            found.passed_over[name] += 1
            continue
        try:
            mode = path.stat().st_mode
        except OSError as error:
            found.unreadable.append(Unreadable(str(path), f"cannot be read: {error.strerror}"))
            continue
        if stat.S_ISDIR(mode):
            yield from _images(path, (*above, here), found)
        elif suffix not in ("", *SUFFIXES, *UNREAD_SUFFIXES) or (not suffix and name.lower() in TEXTS):
            found.passed_over[suffix or name] += 1
        elif not stat.S_ISREG(mode):
            found.unreadable.append(Unreadable(str(path), "not a regular file"))
        else:
            yield path

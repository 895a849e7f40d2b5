"""Find images in class folders. Other files are ignored and counted; errors in the layout are reported."""

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

JUNK_NAMES = {
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx", "__pycache__", "@eadir",
    "lost+found", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "found.000",
}  # fmt: skip
"""Files and folders of operating systems, network drives and editors. Hidden files and backup copies are junk too."""
BACKUP_SUFFIXES = ("~", ".swp", ".swo", ".bak", ".part", ".crdownload", ".tmp")
TEXT_FILES = {"readme", "license", "licence", "copying", "authors", "makefile", "checksums", "md5sums", "sha256sums"}
"""Text files without a suffix. Other files without one may be images."""
Classes = dict[str, list[Path]]


@dataclass
class FolderContents:
    """The contents of a folder of class folders.

    splits: images by split and class, sorted by name; a single split `"all"` if there are no split folders.
    unreadable: files known to be unreadable before any is opened. mistakes: classes without images, and circular links;
    these cannot be skipped.
    ignored: number of files of each kind that are not images.
    unlabelled: name of the folder of test images that has no class folders, if there is one.
    """

    splits: dict[str, Classes] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    mistakes: list[Unreadable] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    unlabelled: str | None = None

    def notes(self) -> list[str]:
        """Remarks for the user, one line each."""
        notes: list[str] = []
        if count := self.ignored.total():
            kinds = [f"{number:,} {kind}" for kind, number in self.ignored.most_common(6)]
            more = len(self.ignored) - len(kinds)
            kinds += [f"{more} more kinds"] if more else []
            notes.append(
                f"ignored {count:,} {'files that are not images' if count > 1 else 'file that is not an image'}: "
                f"{', '.join(kinds)}"
            )
        if self.unlabelled is not None:
            notes.append(f"{self.unlabelled}/ contains no class folders, so its images have no labels and are not used")
        return notes


def quoted_names(names: Sequence[str]) -> str:
    """The first five names in quotes, and the number of further ones."""
    more = f" and {len(names) - 5:,} more classes" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def find_images(root: Path) -> FolderContents:
    """Find the images below `root` by split and class, and everything else that is there.

    Raises LimbeckError, with the path, for images outside class folders, classes missing from train, and folders that
    are neither splits nor classes.
    """
    found = FolderContents()
    if not root.is_dir():
        raise LimbeckError(f"{root}: no such folder; expected a folder of class folders, or of train/ and test/")
    folders = _folders(root)
    split_folders: dict[str, Path] = {}
    for folder in folders:
        if (split := _split(folder)) is not None:
            if split in split_folders:
                raise LimbeckError(
                    f"{root}: both {split_folders[split].name}/ and {folder.name}/ name the {split} split; keep one"
                )
            split_folders[split] = folder
    if "train" not in split_folders:
        if split_folders and len(split_folders) == len(folders):
            raise LimbeckError(f"{root}: no train/ beside {', '.join(f.name + '/' for f in split_folders.values())}")
        found.splits["all"] = _classes(root, found)
        return found
    for folder in folders:
        if folder not in split_folders.values():
            raise LimbeckError(
                f"{folder}: unexpected folder; beside {split_folders['train'].name}/, expected only val/ and test/"
            )
    _refuse_loose_images(root)
    if "test" in split_folders and _is_unlabelled(split_folders["test"]):
        found.unlabelled = split_folders.pop("test").name
    for split in SPLIT_NAMES:
        if split in split_folders:
            found.splits[split] = _classes(split_folders[split], found, may_be_incomplete=split != "train")
    for split, classes in found.splits.items():
        _check_same_classes(split_folders["train"], found.splits["train"], split_folders[split], classes)
    return found


def _is_unlabelled(folder: Path) -> bool:
    """Whether a folder contains images but no class folders, as the test sets of competitions do."""
    return not _folders(folder) and any(path.suffix.lower() in SUFFIXES for path in _listing(folder))


def _split(folder: Path) -> str | None:
    """The split that the whole name of a folder says (`test_tubes` is a class)."""
    split = split_of_name(folder.name)
    return split if split is not None and folder.name.lower() in SPLIT_NAMES[split] else None


def _classes(folder: Path, found: FolderContents, *, may_be_incomplete: bool = False) -> Classes:
    """Images by class. Unreadable and ignored files are added to `found`.

    may_be_incomplete: accept a single class and empty classes, as in a split that is only evaluated.
    """
    _refuse_loose_images(folder)
    classes = {class_folder.name: list(_images(class_folder, (), found)) for class_folder in _folders(folder)}
    if not classes:
        raise LimbeckError(f"{folder}: contains no class folders")
    if may_be_incomplete:
        return classes
    if len(classes) == 1:
        raise LimbeckError(f"{folder}: contains only one class, {next(iter(classes))!r}; at least two are needed")
    found.mistakes += [
        Unreadable(str(folder / name), "this class has no images") for name, files in classes.items() if not files
    ]
    return classes


def _check_same_classes(one: Path, train: Classes, other: Path, classes: Classes) -> None:
    if unknown := sorted(classes.keys() - train.keys()):
        missing = sorted(train.keys() - classes.keys())
        renamed = f", and only {one.name}/ has {quoted_names(missing)}" if missing else ""
        raise LimbeckError(f"{one.parent}: classes differ: only {other.name}/ has {quoted_names(unknown)}{renamed}")


def is_junk(name: str) -> bool:
    """Whether a file or folder comes from a system or tool: hidden files, thumbnail caches, backup copies and so on."""
    return name.startswith(".") or name.lower() in JUNK_NAMES or name.lower().endswith(BACKUP_SUFFIXES)


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
            raise LimbeckError(f"{path}: image outside the class folders; move it into the folder of its class")


def _images(folder: Path, parents: tuple[tuple[int, int], ...], found: FolderContents) -> Iterator[Path]:
    """Images of a class folder and its subfolders. Links are followed, but not in circles.

    parents: device and inode of the parent folders. found: receives everything that is not an image.
    """
    try:
        status = folder.stat()
        names = sorted(os.listdir(folder))
    except OSError as error:
        found.unreadable.append(Unreadable(str(folder), f"cannot be read: {error.strerror}"))
        return
    here = status.st_dev, status.st_ino
    if here in parents:
        found.mistakes.append(Unreadable(str(folder), "a circular link to one of its parent folders"))
        return
    for name in names:
        path = folder / name
        suffix = path.suffix.lower()
        if is_junk(name):
            found.ignored[name] += 1
            continue
        try:
            mode = path.stat().st_mode
        except OSError as error:
            found.unreadable.append(Unreadable(str(path), f"cannot be read: {error.strerror}"))
            continue
        if stat.S_ISDIR(mode):
            yield from _images(path, (*parents, here), found)
        elif suffix not in ("", *SUFFIXES, *UNREAD_SUFFIXES) or (not suffix and name.lower() in TEXT_FILES):
            found.ignored[suffix or name] += 1
        elif not stat.S_ISREG(mode):
            found.unreadable.append(Unreadable(str(path), "not a regular file"))
        else:
            yield path

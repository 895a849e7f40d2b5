"""Tiny-ImageNet-200, from the official zip."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from limbeck.data.cache_writer import Contents
from limbeck.data.decode_parallel import EncodedImage, decode_blocks
from limbeck.errors import LimbeckError
from limbeck.types import Dataset, Normalisation

from .official_archive import Members, OfficialArchive, archive_dataset

SIDE = 64
MAX_IMAGE_BYTES = 100_000  # the official images have about 3,000
MAX_TEXT_BYTES = 20_000_000  # words.txt has about 3,000,000
WNID = re.compile(r"n[0-9]{8}")
WNIDS, WORDS, ANNOTATIONS = "wnids.txt", "words.txt", "val/val_annotations.txt"


@dataclass(frozen=True)
class Archive(OfficialArchive):
    """The known properties of the zip.

    train, validation: number of images of each class.
    """

    classes: int
    train: int
    validation: int
    normalisation: Normalisation

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images of each split. The validation set is used for test, because the test set has no labels."""
        return {"train": self.classes * self.train, "test": self.classes * self.validation}


ARCHIVE = Archive(
    name="tinyimagenet",
    url="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
    sha256="6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
    folder="tiny-imagenet-200",
    classes=200,
    train=500,
    validation=50,
    # The usual values from the literature. In float64, 70 training images of each class give means of 0.4816, 0.4497,
    # 0.3994 (0.0014 to 0.0019 higher, at most 1.5 standard errors) and sd of 0.2766, 0.2692, 0.2827 (within 0.0007).
    normalisation=Normalisation((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
)


def build(*, path: str | None = None) -> Dataset:
    """Tiny-ImageNet-200: 110,000 photos, 64 x 64, 200 classes; downloaded once, or read from `path`.

    path: `tiny-imagenet-200.zip`, its extracted folder or the parent of that folder; by default the archive in
    `$LIMBECK_DATA`, which is downloaded if it is missing.
    100,000 training images, class by class. The 10,000 official validation images are the test split, because the
    official test set has no labels; models are selected on images held out of train. Classes are in the order of
    `wnids.txt` and have the first name in `words.txt`, followed by the WordNet id if two classes share that name. Grey
    images become three equal channels. Mean and standard deviation are the usual ones.
    Source: Y. Le and X. Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS231N, 2015.
    Raises LimbeckError, with path and member, if the archive cannot be obtained or differs from the official one.
    """
    return dataset(ARCHIVE, path)


def dataset(archive: Archive, path: str | None) -> Dataset:
    """The archive's images from a zip, an extracted folder, `$LIMBECK_DATA` or the network.

    Raises LimbeckError if they cannot be obtained or are not the official ones.
    """
    return archive_dataset(archive, path, partial(_read, archive), marker_file=WNIDS)


def _read(archive: Archive, members: Members) -> tuple[Sequence[str], Contents]:
    class_names, images = _layout(archive, members)
    items = (EncodedImage(members.read(name, MAX_IMAGE_BYTES), members.where(name), label) for name, label in images)
    contents = Contents(
        class_names=class_names,
        sizes=archive.sizes,
        shape=(SIDE, SIDE),
        blocks=decode_blocks(items, (SIDE, SIDE), resize=False),
        source=archive.file_name,
        normalisation=archive.normalisation,
    )
    return [WNIDS, WORDS, ANNOTATIONS, *(name for name, _ in images)], contents


def _layout(archive: Archive, members: Members) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """Class names, and (name, label) of every image: train class by class, then validation.

    Raises LimbeckError for inconsistent text files and for missing or unexpected images.
    """
    wnids = _wnids(archive, members)
    class_names = _class_names(members, wnids)
    _check_listing(members, "train", wnids)
    images = []
    for label, wnid in enumerate(wnids):
        folder, names = f"train/{wnid}/images", [f"{wnid}_{i}.JPEG" for i in range(archive.train)]
        _check_listing(members, folder, names)
        images += [(f"{folder}/{name}", label) for name in names]
    names = [f"val_{i}.JPEG" for i in range(archive.sizes["test"])]
    _check_listing(members, "val/images", names)
    labels = _labels(archive, members, names, wnids)
    return class_names, images + [(f"val/images/{name}", labels[name]) for name in names]


def _check_listing(members: Members, folder: str, required: Sequence[str]) -> None:
    """Raises LimbeckError unless a folder contains exactly these names."""
    found = members.listing(folder)
    expected = f"{folder}/ must contain {len(required):,} entries, {required[0]} to {required[-1]}"
    if missing := [name for name in required if name not in found]:
        raise LimbeckError(f"{members.where(f'{folder}/{missing[0]}')}: missing{_with_others(missing)}; {expected}")
    if others := sorted(found.difference(required)):
        raise LimbeckError(f"{members.where(f'{folder}/{others[0]}')}: unexpected{_with_others(others)}; {expected}")


def _with_others(names: Sequence[str]) -> str:
    return f", and {len(names) - 1:,} more" if len(names) > 1 else ""


def _lines(members: Members, name: str) -> Iterator[tuple[str, str]]:
    """(name in error messages, line) of each line that is not empty."""
    text = members.read(name, MAX_TEXT_BYTES).decode("utf-8", "replace")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{members.where(name)}: line {number}", line.rstrip("\r")


def _wnids(archive: Archive, members: Members) -> tuple[str, ...]:
    """The WordNet ids of the classes, in the order of their labels."""
    wnids: dict[str, None] = {}
    for where, line in _lines(members, WNIDS):
        if not WNID.fullmatch(wnid := line.strip()):  # ids become parts of paths
            raise LimbeckError(f"{where}: not a WordNet id: {wnid[:40]!r}; expected n and eight digits")
        if wnid in wnids:
            raise LimbeckError(f"{where}: duplicate {wnid}")
        wnids[wnid] = None
    if len(wnids) != archive.classes:
        raise LimbeckError(f"{members.where(WNIDS)}: {len(wnids):,} classes; expected {archive.classes}")
    return tuple(wnids)


def _class_names(members: Members, wnids: Sequence[str]) -> tuple[str, ...]:
    """The first synonym of each class, followed by its WordNet id if another class has the same synonym."""
    of_class = dict.fromkeys(wnids, "")
    for where, line in _lines(members, WORDS):
        wnid, _, words = line.partition("\t")
        if wnid not in of_class:
            continue  # the file lists all of WordNet
        if of_class[wnid]:
            raise LimbeckError(f"{where}: duplicate {wnid}")
        of_class[wnid] = words.partition(",")[0].strip()
        if not of_class[wnid]:
            raise LimbeckError(f"{where}: no words; expected {wnid}, a tab and its words")
    for wnid, word in of_class.items():
        if not word:
            raise LimbeckError(f"{members.where(WORDS)}: no words for {wnid}, which {WNIDS} lists")
    shared = Counter(of_class.values())
    return tuple(word if shared[word] == 1 else f"{word} ({wnid})" for wnid, word in of_class.items())


def _labels(archive: Archive, members: Members, names: Sequence[str], wnids: Sequence[str]) -> dict[str, int]:
    """The label of each validation image, by file name."""
    classes = {wnid: label for label, wnid in enumerate(wnids)}
    labels: dict[str, int] = {}
    known = set(names)
    for where, line in _lines(members, ANNOTATIONS):
        name, *rest = line.split("\t")
        if len(rest) != 5:
            raise LimbeckError(
                f"{where}: {len(rest) + 1} columns; expected six, separated by tabs: image, wnid and a box of four"
            )
        if name not in known:
            raise LimbeckError(f"{where}: {name[:40]!r} is not an image of val/images/")
        if rest[0] not in classes:
            raise LimbeckError(f"{where}: {rest[0][:40]!r} is not a class of {WNIDS}")
        if name in labels:
            raise LimbeckError(f"{where}: duplicate {name}")
        labels[name] = classes[rest[0]]
    if missing := [name for name in names if name not in labels]:
        raise LimbeckError(f"{members.where(ANNOTATIONS)}: no line for {missing[0]}{_with_others(missing)}")
    counts = Counter(labels.values())
    for wnid, label in classes.items():
        if counts[label] != archive.validation:
            raise LimbeckError(
                f"{members.where(ANNOTATIONS)}: {counts[label]} images of {wnid}; expected {archive.validation}"
            )
    return labels

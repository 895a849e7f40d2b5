"""CIFAR's binary archives: records in a tar.gz whose SHA-256 is checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from limbeck.data.cache_writer import Contents
from limbeck.errors import LimbeckError
from limbeck.types import Dataset, Normalisation

from .official_archive import Members, OfficialArchive, archive_dataset

SIDE = 32
PIXELS = 3 * SIDE * SIDE
RECORDS_PER_BLOCK = 1000


@dataclass(frozen=True)
class Archive(OfficialArchive):
    """The known properties of a CIFAR archive.

    train, test: files of records, in order. names: the file of class names.
    label_bytes: number of bytes before the pixels of a record; the last of them is the label.
    records: number of records in each file of a split.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    classes: int
    label_bytes: int
    records: Mapping[str, int]
    normalisation: Normalisation

    def file_size(self, split: str) -> int:
        """Size in bytes of each file of a split."""
        return self.records[split] * (self.label_bytes + PIXELS)


def dataset(archive: Archive, path: str | None) -> Dataset:
    """The archive's images from a tar.gz, an extracted folder, `$LIMBECK_DATA` or the network.

    Raises LimbeckError if they cannot be obtained or are not the official ones.
    """
    return archive_dataset(archive, path, partial(_read, archive), marker_file=archive.train[0])


def _read(archive: Archive, members: Members) -> tuple[Sequence[str], Contents]:
    files = {name: archive.file_size(split) for split in ("train", "test") for name in getattr(archive, split)}
    for name, expected in files.items():
        if (size := members.size(name)) != expected:
            raise LimbeckError(f"{members.where(name)}: {size:,} bytes; expected {expected:,}")
    contents = Contents(
        class_names=_class_names(archive, members),
        sizes={split: len(getattr(archive, split)) * archive.records[split] for split in ("train", "test")},
        shape=(SIDE, SIDE),
        blocks=_blocks(archive, members, files),
        source=archive.file_name,
        normalisation=archive.normalisation,
    )
    return [*files, archive.names], contents


def _class_names(archive: Archive, members: Members) -> tuple[str, ...]:
    names = tuple(members.read(archive.names, 100_000).decode("utf-8", "replace").split())
    if len(names) != archive.classes or len(set(names)) != len(names):
        where = members.where(archive.names)
        raise LimbeckError(f"{where}: {len(names)} class names; expected {archive.classes} distinct ones")
    return names


def _blocks(archive: Archive, members: Members, files: Mapping[str, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of images `[B, 32, 32, 3]` and labels `[B]`.

    A record holds its labels, then a red, a green and a blue plane.
    """
    for name, size in files.items():
        records = np.frombuffer(members.read(name, size), np.uint8).reshape(-1, archive.label_bytes + PIXELS)
        for start in range(0, len(records), RECORDS_PER_BLOCK):
            block = records[start : start + RECORDS_PER_BLOCK]
            planes = block[:, archive.label_bytes :].reshape(-1, 3, SIDE, SIDE)
            yield planes.transpose(0, 2, 3, 1), block[:, archive.label_bytes - 1]

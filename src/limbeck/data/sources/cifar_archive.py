"""CIFAR's binary archives: records in a tar.gz whose SHA-256 is checked before anything is read."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from limbeck.data import cache
from limbeck.data.cache_writer import Contents
from limbeck.data.checksum import check
from limbeck.errors import LimbeckError
from limbeck.types import Dataset, Normalisation

from .official_archive import OfficialArchive, archive_dataset

SIDE = 32
PIXELS = 3 * SIDE * SIDE
AT_A_TIME = 1000  # records


@dataclass(frozen=True)
class Archive(OfficialArchive):
    """What is known of a tar.gz beforehand.

    train, test: files of records, in order. names: the file of class names.
    label_bytes: before the pixels of a record; the last of them is the label.
    records: in each file of a split.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    classes: int
    label_bytes: int
    records: Mapping[str, int]
    normalisation: Normalisation

    def file_size(self, split: str) -> int:
        """Bytes of each file of a split."""
        return self.records[split] * (self.label_bytes + PIXELS)


def dataset(archive: Archive, path: str | None) -> Dataset:
    """The archive's images from a tar.gz, an extracted folder, `$LIMBECK_DATA` or the network.

    Raises LimbeckError where they cannot be had or are not the official ones.
    """
    return archive_dataset(
        archive, path, from_file=partial(_from_tar, archive), from_folder=partial(_from_folder, archive)
    )


def _from_folder(archive: Archive, folder: Path) -> Dataset:
    files = [folder / name for name in (*archive.train, *archive.test, archive.names)]
    for file in files:
        if not file.is_file():
            raise LimbeckError(f"{file}: missing; path takes {archive.file_name} or its extracted folder")
    for split in ("train", "test"):
        for name in getattr(archive, split):
            if (size := (folder / name).stat().st_size) != archive.file_size(split):
                raise LimbeckError(f"{folder / name}: {size:,} bytes where {archive.file_size(split):,} are expected")

    def produce() -> Contents:
        text = (folder / archive.names).read_bytes()[:100_000]
        return _contents(archive, _class_names(archive, text, folder / archive.names), str(folder), _read_files())

    def _read_files() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for name in (*archive.train, *archive.test):
            with (folder / name).open("rb") as file:
                yield from _records(archive, file, folder / name)

    return cache.dataset(archive.name, cache.key(archive.name, {}, files), produce)


def _from_tar(archive: Archive, path: Path) -> Contents:
    with _checked_tar(archive, path) as tar:
        text = _member(archive, tar, path, archive.names).read(100_000)
        names = _class_names(archive, text, path)

    def read_members() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with _checked_tar(archive, path) as tar:
            for split in ("train", "test"):
                for name in getattr(archive, split):
                    member = _member(archive, tar, path, name, archive.file_size(split))
                    yield from _records(archive, member, path)

    return _contents(archive, names, str(path), read_members())


@contextmanager
def _checked_tar(archive: Archive, path: Path) -> Iterator[tarfile.TarFile]:
    """The tar behind the very handle whose bytes were hashed."""
    with path.open("rb") as file:
        check(file, archive.sha256, path)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:gz") as tar:
                yield tar
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise LimbeckError(f"{path}: not a readable tar.gz: {error}") from error


def _member(archive: Archive, tar: tarfile.TarFile, path: Path, name: str, size: int | None = None) -> IO[bytes]:
    """A regular file of the archive, read in place; nothing is ever extracted to the disk."""
    try:
        member = tar.getmember(f"{archive.folder}/{name}")
    except KeyError:
        raise LimbeckError(f"{path}: holds no {archive.folder}/{name}") from None
    stream = tar.extractfile(member) if member.isreg() else None
    if stream is None or (size is not None and member.size != size):
        raise LimbeckError(
            f"{path}: {archive.folder}/{name} is {member.size:,} bytes; {size or 'a file':,} is expected"
        )
    return stream


def _class_names(archive: Archive, text: bytes, where: Path) -> tuple[str, ...]:
    names = tuple(text.decode("utf-8", "replace").split())
    if len(names) != archive.classes or len(set(names)) != len(names):
        raise LimbeckError(f"{where}: {len(names)} class names where {archive.classes} different ones are expected")
    return names


def _records(archive: Archive, stream: IO[bytes], where: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of images `[B, 32, 32, 3]` and labels `[B]`.

    A record is its labels, then a red, a green and a blue plane.
    """
    length = archive.label_bytes + PIXELS
    while data := stream.read(length * AT_A_TIME):
        if len(data) % length:
            raise LimbeckError(f"{where}: ends in the middle of a record")
        records = np.frombuffer(data, np.uint8).reshape(-1, length)
        planes = records[:, archive.label_bytes :].reshape(-1, 3, SIDE, SIDE)
        yield planes.transpose(0, 2, 3, 1), records[:, archive.label_bytes - 1]


def _contents(archive: Archive, names: tuple[str, ...], source: str, blocks) -> Contents:
    return Contents(
        class_names=names,
        sizes={split: len(getattr(archive, split)) * archive.records[split] for split in ("train", "test")},
        shape=(SIDE, SIDE),
        blocks=blocks,
        source=source,
        normalisation=archive.normalisation,
    )

"""A data set published as one archive: found or downloaded, verified by its SHA-256, and read without extracting it.

An extracted folder is also accepted. Members are named by their path below the top folder of the archive, with `/` as
separator. The declared names, types and sizes in a zip are checked before a member is read.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from limbeck.data import cache
from limbeck.data.cache_writer import Contents
from limbeck.data.download import check_sha256, download
from limbeck.errors import LimbeckError, one_line, printable
from limbeck.storage import default_folders
from limbeck.types import Dataset

from .class_folders import is_junk

MAX_MEMBERS = 1_000_000  # of a zip
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class OfficialArchive:
    """The known properties of an archive. sha256: of the file. folder: the top folder inside it."""

    name: str
    url: str
    sha256: str
    folder: str

    @property
    def file_name(self) -> str:
        """The file's name on the official site."""
        return self.url.rpartition("/")[2]


class Members(ABC):
    """The files of an archive by name, in a zip, a tar or an extracted folder."""

    @abstractmethod
    def where(self, name: str) -> str:
        """The name of a file or folder in error messages."""

    @abstractmethod
    def listing(self, folder: str) -> set[str]:
        """Names of files and folders directly in a folder, without junk; empty if there is no such folder."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Declared size in bytes. Raises LimbeckError if the file is missing or not a regular file."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open a file whose `size` was checked."""

    def read(self, name: str, max_bytes: int) -> bytes:
        """Contents of a file. Raises LimbeckError if it is missing, damaged or larger than `max_bytes`."""
        where, size = self.where(name), self.size(name)
        if size > max_bytes:
            raise LimbeckError(f"{where}: {size:,} bytes; at most {max_bytes:,} are allowed")
        try:
            with self.open(name) as file:
                # A plain read() would decompress all of a zip bomb, not just its declared size.
                data = file.read(size + 1)
        except LimbeckError:
            raise
        except Exception as error:  # zipfile raises many kinds of errors on damaged bytes
            raise LimbeckError(f"{where}: cannot be read: {_reason(error)}") from error
        if len(data) != size:
            raise LimbeckError(f"{where}: {len(data):,} bytes; the archive declares {size:,}")
        return data


class FolderMembers(Members):
    """The files of an extracted folder. Links are followed, because the folder belongs to the user."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def where(self, name: str) -> str:  # noqa: D102
        return str(self.root / name)

    def listing(self, folder: str) -> set[str]:  # noqa: D102
        try:
            return {name for name in os.listdir(self.root / folder) if not is_junk(name)}
        except (FileNotFoundError, NotADirectoryError):
            return set()
        except OSError as error:
            raise LimbeckError(f"{self.where(folder)}: cannot be read: {error.strerror}") from error

    def size(self, name: str) -> int:  # noqa: D102
        path = self.root / name
        try:
            status = path.stat()
        except FileNotFoundError:
            raise LimbeckError(f"{path}: missing") from None
        except OSError as error:
            raise LimbeckError(f"{path}: cannot be read: {error.strerror or error}") from error
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would block forever
            raise LimbeckError(f"{path}: not a regular file")
        return status.st_size

    def open(self, name: str) -> IO[bytes]:  # noqa: D102
        return (self.root / name).open("rb")


class TarMembers(Members):
    """The members of an open tar below the folder `root`."""

    def __init__(self, archive: tarfile.TarFile, path: Path, root: str) -> None:
        self.archive, self.path, self.root = archive, path, root
        self.infos = {info.name: info for info in archive.getmembers()}

    def where(self, name: str) -> str:  # noqa: D102
        return f"{self.path}: {self.root}/{name}"

    def listing(self, folder: str) -> set[str]:  # noqa: D102
        return {Path(name).name for name in self.infos if name.rpartition("/")[0] == f"{self.root}/{folder}"}

    def size(self, name: str) -> int:  # noqa: D102
        info = self.infos.get(f"{self.root}/{name}")
        if info is None:
            raise LimbeckError(f"{self.where(name)}: missing")
        if not info.isreg():
            raise LimbeckError(f"{self.where(name)}: not a regular file")
        return info.size

    def open(self, name: str) -> IO[bytes]:  # noqa: D102
        file = self.archive.extractfile(self.infos[f"{self.root}/{name}"])
        assert file is not None
        return file


class ZipMembers(Members):
    """The members of an open zip below the folder `root`.

    Raises LimbeckError for names that lead out of `root`, duplicate names, and members that are not regular files.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path, root: str) -> None:
        self.archive, self.path, self.root = archive, path, root
        self.infos: dict[str, zipfile.ZipInfo] = {}
        self.folders: dict[str, set[str]] = {}
        if len(archive.infolist()) > MAX_MEMBERS:
            raise LimbeckError(f"{path}: {len(archive.infolist()):,} members; at most {MAX_MEMBERS:,} are allowed")
        for info in archive.infolist():
            self._add(info)

    def _add(self, info: zipfile.ZipInfo) -> None:
        full = info.orig_filename  # zipfile truncates `filename` at a NUL
        parts = full.removesuffix("/").split("/")
        if any(part in ("", ".", "..") for part in parts) or any(odd in full for odd in "\\\0:"):
            raise LimbeckError(f"{self.path}: {printable(full)}: a name that leads out of the archive; refused")
        if any(map(is_junk, parts)):
            return
        if parts[0] != self.root:
            raise LimbeckError(f"{self.path}: {printable(full)}: unexpected; everything must lie below {self.root}/")
        for depth in range(2, len(parts) + 1):
            self.folders.setdefault("/".join(parts[1 : depth - 1]), set()).add(parts[depth - 1])
        if info.is_dir():
            return
        name = "/".join(parts[1:])
        if name in self.infos:
            raise LimbeckError(f"{self.where(name)}: appears twice in the archive")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise LimbeckError(f"{self.where(name)}: not a regular file")
        self.infos[name] = info

    def where(self, name: str) -> str:  # noqa: D102
        return f"{self.path}: {printable(f'{self.root}/{name}')}"

    def listing(self, folder: str) -> set[str]:  # noqa: D102
        return self.folders.get(folder, set())

    def size(self, name: str) -> int:  # noqa: D102
        if name not in self.infos:
            raise LimbeckError(f"{self.where(name)}: missing")
        return self.infos[name].file_size

    def open(self, name: str) -> IO[bytes]:  # noqa: D102
        info = self.infos[name]
        if info.compress_type not in METHODS:
            raise LimbeckError(
                f"{self.where(name)}: unsupported compression method {info.compress_type}; expected stored or deflated"
            )
        return self.archive.open(info)


def archive_dataset(
    archive: OfficialArchive,
    path: str | None,
    read: Callable[[Members], tuple[Sequence[str], Contents]],
    *,
    marker_file: str,
) -> Dataset:
    """The data set of an archive, from its file, its extracted folder, `$LIMBECK_DATA` or the network.

    path: the file, the extracted folder or its parent; None uses the file in `$LIMBECK_DATA` or downloads it.
    read: returns the names of all required files, and the contents, whose blocks may read members lazily.
    marker_file: a file that identifies the extracted folder.
    Raises LimbeckError if the images cannot be obtained or are not the official ones.
    """
    given = Path(path).expanduser() if path is not None else None
    expected = f"path must be {archive.file_name} or its extracted folder"
    if given is not None and given.is_dir():
        inside = given / archive.folder
        return _from_folder(archive, inside if inside.is_dir() else given, read, marker_file, expected)
    if given is not None and not given.is_file():
        raise LimbeckError(f"{given}: no such file; {expected}")

    def produce() -> Contents:
        file = given or default_folders.data_folder() / archive.file_name
        if not file.is_file():
            download(archive.url, file, sha256=archive.sha256)
        with open_archive(archive, file) as members:
            _, contents = read(members)

        def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            with open_archive(archive, file) as members:
                yield from read(members)[1].blocks

        return dataclasses.replace(contents, source=str(file), blocks=blocks())

    # The checksum identifies the contents, so a cached data set needs neither the archive nor the network.
    return cache.dataset(archive.name, cache.key(archive.name, {"sha256": archive.sha256}), produce)


def _from_folder(
    archive: OfficialArchive,
    folder: Path,
    read: Callable[[Members], tuple[Sequence[str], Contents]],
    marker_file: str,
    expected: str,
) -> Dataset:
    if not (folder / marker_file).is_file():
        raise LimbeckError(f"{folder / marker_file}: missing; {expected}")
    names, contents = read(FolderMembers(folder))
    try:
        key = cache.key(archive.name, {}, [folder / name for name in names])
    except OSError as error:  # a broken link
        raise LimbeckError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return cache.dataset(archive.name, key, lambda: dataclasses.replace(contents, source=str(folder)))


@contextmanager
def open_archive(archive: OfficialArchive, path: Path) -> Iterator[Members]:
    """Open the archive's file, and read its members through the same handle whose bytes were hashed.

    Raises LimbeckError if the file cannot be read or does not have the official SHA-256.
    """
    kind = "zip" if archive.file_name.endswith(".zip") else "tar.gz"
    try:
        file = path.open("rb")
    except OSError as error:
        raise LimbeckError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        check_sha256(file, archive.sha256, path)
        file.seek(0)
        try:
            if kind == "zip":
                opened = zipfile.ZipFile(file)
                members: Members = ZipMembers(opened, path, archive.folder)
            else:
                opened = tarfile.open(fileobj=file, mode="r:gz")  # noqa: SIM115
                members = TarMembers(opened, path, archive.folder)
        except LimbeckError:
            raise
        except Exception as error:  # zipfile and tarfile raise many kinds of errors on damaged bytes
            raise LimbeckError(f"{path}: not a readable {kind}: {_reason(error)}") from error
        with opened:
            yield members


def _reason(error: Exception) -> str:
    return printable(getattr(error, "strerror", None) or one_line(error, None))

"""Files of a published archive by their names: in a zip, read in place, or in the folder that was extracted from it.

A name is what stands below the archive's own folder, with `/` between its parts. Nothing is ever written to the
disk; what a zip says of names, kinds and sizes is checked before a member is read.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from limbeck.data.checksum import check
from limbeck.errors import LimbeckError, one_line, printable

from .class_folders import is_junk

MOST = 1_000_000  # members of a zip
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Members(Protocol):
    """What a reader of an archive needs, wherever it lies."""

    def where(self, name: str) -> str:
        """What an error calls a file or folder."""
        ...

    def listing(self, folder: str) -> set[str]:
        """Files and folders right below a folder, junk left out; none where there is no such folder."""
        ...

    def read(self, name: str, most: int) -> bytes:
        """A regular file's bytes. Raises LimbeckError where it is missing, damaged, or has more than `most`."""
        ...


class FolderMembers:
    """The archive's folder on the disk. Links are followed: the folder is the user's own."""

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

    def read(self, name: str, most: int) -> bytes:  # noqa: D102
        path = self.root / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
                raise LimbeckError(f"{path}: not a regular file")
            _check_size(str(path), status.st_size, most)
            with path.open("rb") as file:
                return file.read(most)
        except FileNotFoundError:
            raise LimbeckError(f"{path}: missing") from None
        except OSError as error:
            raise LimbeckError(f"{path}: cannot be read: {error.strerror or error}") from error


class ZipMembers:
    """The members of an open zip below the folder `root`.

    Raises LimbeckError for names that lead out of `root`, names that stand twice, and what is no regular file.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path, root: str) -> None:
        self.archive, self.path, self.root = archive, path, root
        self.infos: dict[str, zipfile.ZipInfo] = {}
        self.folders: dict[str, set[str]] = {}
        if len(archive.infolist()) > MOST:
            raise LimbeckError(f"{path}: {len(archive.infolist()):,} members; at most {MOST:,} are read")
        for info in archive.infolist():
            self._add(info)

    def _add(self, info: zipfile.ZipInfo) -> None:
        full = info.orig_filename  # zipfile cuts `filename` at a NUL
        parts = full.removesuffix("/").split("/")
        if any(part in ("", ".", "..") for part in parts) or any(odd in full for odd in "\\\0:"):
            raise LimbeckError(f"{self.path}: {printable(full)}: a name that leads out of the archive; refused")
        if any(map(is_junk, parts)):
            return
        if parts[0] != self.root:
            raise LimbeckError(f"{self.path}: {printable(full)}: unexpected; all lies below {self.root}/")
        for depth in range(2, len(parts) + 1):
            self.folders.setdefault("/".join(parts[1 : depth - 1]), set()).add(parts[depth - 1])
        if info.is_dir():
            return
        name = "/".join(parts[1:])
        if name in self.infos:
            raise LimbeckError(f"{self.where(name)}: stands twice in the archive")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise LimbeckError(f"{self.where(name)}: not a regular file")
        self.infos[name] = info

    def where(self, name: str) -> str:  # noqa: D102
        return f"{self.path}: {printable(f'{self.root}/{name}')}"

    def listing(self, folder: str) -> set[str]:  # noqa: D102
        return self.folders.get(folder, set())

    def read(self, name: str, most: int) -> bytes:  # noqa: D102
        where = self.where(name)
        info = self.infos.get(name)
        if info is None:
            raise LimbeckError(f"{where}: missing")
        _check_size(where, info.file_size, most)
        if info.compress_type not in METHODS:
            raise LimbeckError(f"{where}: compressed by method {info.compress_type}; it takes stored or deflated")
        try:
            with self.archive.open(info) as stream:
                # Never read() alone: that would unpack what a bomb really holds before it is cut to what it says.
                data = stream.read(info.file_size + 1)
        except Exception as error:  # zipfile raises all sorts of things on bytes that it does not expect
            reason = one_line(error, None)
            raise LimbeckError(f"{where}: cannot be read: {printable(reason)}") from error
        if len(data) != info.file_size:
            raise LimbeckError(f"{where}: {len(data):,} bytes where the archive says {info.file_size:,}")
        return data


@contextmanager
def in_zip(path: Path, sha256: str, root: str) -> Iterator[Members]:
    """The members of a zip, read through the very handle whose bytes were hashed.

    Raises LimbeckError unless it has this SHA-256 and can be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise LimbeckError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        check(file, sha256, path)
        file.seek(0)
        try:
            archive = zipfile.ZipFile(file)
        except Exception as error:  # as above
            reason = one_line(error, None)
            raise LimbeckError(f"{path}: not a readable zip: {printable(reason)}") from error
        with archive:
            yield ZipMembers(archive, path, root)


def _check_size(where: str, size: int, most: int) -> None:
    if size > most:
        raise LimbeckError(f"{where}: {size:,} bytes; at most {most:,} are read")

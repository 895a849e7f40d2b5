"""A data set that comes as one official archive: where it is found, and what stands for it in the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limbeck.data import cache
from limbeck.data.cache_writer import Contents
from limbeck.data.download import download
from limbeck.errors import LimbeckError
from limbeck.storage import default_folders
from limbeck.types import Dataset


@dataclass(frozen=True)
class OfficialArchive:
    """What is known of an archive beforehand. sha256: of its file. folder: inside it."""

    name: str
    url: str
    sha256: str
    folder: str

    @property
    def file_name(self) -> str:
        """As the official site calls it."""
        return self.url.rpartition("/")[2]


def archive_dataset(
    archive: OfficialArchive,
    path: str | None,
    *,
    from_file: Callable[[Path], Contents],
    from_folder: Callable[[Path], Dataset],
) -> Dataset:
    """The archive's images from its file, its extracted folder, `$LIMBECK_DATA` or the network.

    path: of the file, of the extracted folder or of the folder that holds that; None looks and fetches.
    from_file: checks the SHA-256 itself, before anything is read.
    Raises LimbeckError where they cannot be had or are not the official ones.
    """
    given = Path(path).expanduser() if path is not None else None
    if given is not None and given.is_dir():
        inside = given / archive.folder
        return from_folder(inside if inside.is_dir() else given)
    if given is not None and not given.is_file():
        raise LimbeckError(f"{given}: no such file; path takes {archive.file_name} or its extracted folder")

    def produce() -> Contents:
        file = given or default_folders.data_folder() / archive.file_name
        if not file.is_file():
            download(archive.url, file, sha256=archive.sha256)
        return from_file(file)

    # The checksum stands for the contents: once decoded, neither the archive nor the network is needed again.
    return cache.dataset(archive.name, cache.key(archive.name, {"sha256": archive.sha256}), produce)

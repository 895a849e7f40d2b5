"""The cache of decoded images on disk. An entry is a folder that is either complete or absent.

An entry is written to a temporary folder, flushed to disk and renamed. A killed process leaves a temporary folder,
which the next writer removes. If two processes write the same entry, one renames first, and the other uses that
entry.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.console import progress_bar
from limbeck.errors import LimbeckError
from limbeck.storage import default_folders
from limbeck.storage.atomic import (
    TEMPORARY,
    WriteError,
    atomic_folder,
    bytes_below,
    discard,
    make_folder,
    remove_leftovers,
)
from limbeck.types import Dataset, Normalisation, Split

from .cache_writer import FORMAT, IMAGES, LABELS, META, SPLITS, Contents, fingerprint, leak_note, write

IN_MEMORY = 2**30  # bytes; a larger data set is memory-mapped


@dataclass(frozen=True)
class CacheEntry:
    """One decoded data set in the cache. size: in bytes."""

    key: str
    name: str
    source: str
    images: int
    size: int


def key(kind: str, options: Mapping[str, Any], files: Iterable[Path] = ()) -> str:
    """The name of an entry: a hash of format, source, options, and each file's path, size and modification time."""
    digest = hashlib.sha256(json.dumps([FORMAT, kind, dict(options)], sort_keys=True).encode())
    for file in files:
        status = file.stat()
        digest.update(f"\n{file.absolute()}|{status.st_size}|{status.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def dataset(name: str, entry: str, produce: Callable[[], Contents]) -> Dataset:
    """The decoded data set with the key `entry`, from the cache or from `produce`, which then fills the cache.

    Up to 1 GiB is read into memory, and its fingerprint is checked. A larger data set is memory-mapped; its tensors
    must not be written to.
    Raises LimbeckError if the cache cannot be written, and whatever `produce` raises. Nothing is left behind then.
    """
    found = _read(name, location() / entry)
    if found is not None:
        return found
    contents = produce()
    try:
        make_folder(location())
        remove_leftovers(location(), shared=True)
        with atomic_folder(location() / entry, existing="keep") as folder:
            write(contents, folder, name)
    except WriteError as error:
        needed = sum(contents.sizes.values()) * contents.shape[0] * contents.shape[1] * 3
        reason = error.__cause__
        assert isinstance(reason, OSError)
        full = reason.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise LimbeckError(
            f"{location()}: cannot hold {needed / 2**20:,.0f} MiB of decoded images: {reason.strerror or reason}; "
            f"{'make room or ' * full}set LIMBECK_CACHE to another folder"
        ) from error
    written = _read(name, location() / entry)
    if written is None:
        raise LimbeckError(f"{location() / entry}: this entry was just written but cannot be read back; check the disk")
    return written


def _read(name: str, folder: Path) -> Dataset | None:
    """None if there is no complete entry. A damaged entry is removed."""
    if not os.path.isdir(folder):  # unlike Path.is_dir, False if permission is denied
        return None
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        small = (folder / IMAGES).stat().st_size <= IN_MEMORY
        images = np.load(folder / IMAGES, mmap_mode=None if small else "r", allow_pickle=False)
        labels = np.load(folder / LABELS, allow_pickle=False)
        whole = images.dtype == np.uint8 and list(images.shape) == meta["shape"] and len(labels) == len(images)
        if whole and small:
            whole = fingerprint(hashlib.sha256(images.data), labels, meta) == meta["fingerprint"]
        if whole:
            return _dataset(name, images, labels, meta)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        pass
    progress_bar.notice(f"{folder}: this cache entry is damaged; the images are decoded again")
    discard(folder)
    return None


def _dataset(name: str, images: np.ndarray, labels: np.ndarray, meta: Mapping[str, Any]) -> Dataset:
    with warnings.catch_warnings():
        # A memory-mapped data set is read-only on purpose.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    classes = torch.from_numpy(labels)
    splits, start = {}, 0
    for split in SPLITS:
        end = start + meta["sizes"][split]
        splits[split] = Split(pixels[start:end], classes[start:end])
        start = end
    return Dataset(
        name=name,
        class_names=tuple(meta["class_names"]),
        train=splits["train"],
        validation=splits["validation"] if meta["sizes"]["validation"] else None,
        test=splits["test"],
        fingerprint=meta["fingerprint"],
        normalisation=Normalisation(tuple(meta["normalisation"]["mean"]), tuple(meta["normalisation"]["sd"])),
        split_key=meta.get("split_key", ""),
        notes=_notes(meta),
    )


def _notes(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """The notes stored with an entry. Earlier versions stored only the number of leaks."""
    if "notes" in meta:
        return tuple(map(str, meta["notes"]))
    leaks = meta["test_images_also_in_train"]
    return (leak_note(leaks, meta["sizes"]["test"]),) if leaks else ()


def location() -> Path:
    """The folder of the cache."""
    return default_folders.cache_folder() / "images"


def entries() -> list[CacheEntry]:
    """The entries of the cache, sorted by name."""
    found = []
    for meta_file in location().glob(f"[0-9a-f]*/{META}"):
        try:
            meta = json.loads(meta_file.read_text(encoding="utf-8"))
            folder = meta_file.parent
            found.append(CacheEntry(folder.name, meta["name"], meta["source"], meta["shape"][0], bytes_below(folder)))
        except (OSError, ValueError, KeyError):
            continue  # damaged, or just removed by another process
    return sorted(found, key=lambda entry: (entry.name, entry.key))


def size() -> int:
    """Size of the cache in bytes, including entries being written."""
    return sum(bytes_below(folder) for folder in _own_folders())


def clean() -> int:
    """Remove all entries and the leftovers of killed processes. Returns the number of bytes freed.

    Other files in the folder stay.
    """
    before = size()
    remove_leftovers(location(), shared=True)
    for folder in _own_folders():
        if not folder.name.startswith(TEMPORARY):
            discard(folder)
    return before - size()


def _own_folders() -> list[Path]:
    """Entries and temporary folders, but no other files that a user may have put there."""
    return [*location().glob("[0-9a-f]" * 32), *location().glob(f"{TEMPORARY}*")]

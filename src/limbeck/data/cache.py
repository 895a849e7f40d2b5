"""Decoded images on disk: an entry is a folder that is either whole or not there.

An entry is written beside its place, forced to the disk and renamed. Who is killed on the way leaves a
temporary folder that the next writer removes; of two who race, one renames first and the other takes what it
finds.
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

IN_MEMORY = 2**30  # bytes; a larger set stays on disk, mapped


@dataclass(frozen=True)
class StoreEntry:
    """One decoded set in the cache. `size` in bytes."""

    key: str
    name: str
    source: str
    images: int
    size: int


def key(kind: str, options: Mapping[str, Any], files: Iterable[Path] = ()) -> str:
    """The name of an entry: a hash of format, source, options, and each file's path, size and time."""
    digest = hashlib.sha256(json.dumps([FORMAT, kind, dict(options)], sort_keys=True).encode())
    for file in files:
        status = file.stat()
        digest.update(f"\n{file.absolute()}|{status.st_size}|{status.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def dataset(name: str, entry: str, produce: Callable[[], Contents]) -> Dataset:
    """The decoded set of this key: from the cache, or from `produce`, which then fills the cache.

    Up to 1 GiB is read into memory and its fingerprint checked; more is memory-mapped, read-only: do not
    write to it.
    Raises LimbeckError where the cache cannot be written, and whatever `produce` raises; nothing is left
    behind then.
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
        raise LimbeckError(f"{location() / entry}: what was just written cannot be read back; is the disk sound?")
    return written


def _read(name: str, folder: Path) -> Dataset | None:
    """None where there is no entry, or none that is whole; one that is damaged is removed."""
    if not os.path.isdir(folder):  # unlike Path.is_dir, False where it may not be looked at
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
        # A mapped set is read-only, and meant so.
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
    """What was noted when the set was written; a version before notes wrote of leaks alone."""
    if "notes" in meta:
        return tuple(map(str, meta["notes"]))
    leaks = meta["test_images_also_in_train"]
    return (leak_note(leaks, meta["sizes"]["test"]),) if leaks else ()


def location() -> Path:
    """The folder of the decoded sets."""
    return default_folders.cache_folder() / "images"


def entries() -> list[StoreEntry]:
    """What the cache holds, by name."""
    found = []
    for meta_file in location().glob(f"[0-9a-f]*/{META}"):
        try:
            meta = json.loads(meta_file.read_text(encoding="utf-8"))
            folder = meta_file.parent
            found.append(StoreEntry(folder.name, meta["name"], meta["source"], meta["shape"][0], bytes_below(folder)))
        except (OSError, ValueError, KeyError):
            continue  # removed by another process, or damaged: not an entry
    return sorted(found, key=lambda entry: (entry.name, entry.key))


def size() -> int:
    """Bytes on disk, what is being written included."""
    return sum(bytes_below(folder) for folder in _own_folders())


def clean() -> int:
    """Remove every decoded set, and what killed writers left; returns the bytes freed. Other files stay."""
    before = size()
    remove_leftovers(location(), shared=True)
    for folder in _own_folders():
        if not folder.name.startswith(TEMPORARY):
            discard(folder)
    return before - size()


def _own_folders() -> list[Path]:
    """Entries and temporary folders; nothing that a person may have put beside them."""
    return [*location().glob("[0-9a-f]" * 32), *location().glob(f"{TEMPORARY}*")]

"""A teacher's logits for the views of an epoch, stored once and read by later runs.

CACHE/outputs/FINGERPRINT/epoch-000000/    logits.f16 and manifest.json

`logits.f16` is a NumPy `.npy` file of float16 `[steps, B, K]`, read as a memory map. The fingerprint covers everything
that determines the logits, so logits that do not fit are not found. An epoch's folder is written atomically, and every
byte is verified when it is opened.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.storage import default_folders
from limbeck.storage.atomic import (
    bytes_below,
    discard,
    explain_os_errors,
    make_folder,
    publish,
    remove_leftovers,
    temporary_folder,
    write_new,
)

LOGITS, MANIFEST = "logits.f16", "manifest.json"
VALUE = np.dtype("<f2")
Rows = NDArray[np.float16]


def location() -> Path:
    """The folder of all banks."""
    return default_folders.cache_folder() / "outputs"


def fingerprint(key: Mapping[str, Any]) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class OutputsBank:
    """The logits of one teacher for the views of one recipe and seed, epoch by epoch.

    key: everything that determines the logits, as plain data. shape: of an epoch's logits: steps, images per view,
    classes. say: called with one line about a damaged file. Epochs are those for which views were drawn.
    """

    key: Mapping[str, Any]
    shape: tuple[int, int, int]
    say: Callable[[str], None] = lambda line: None

    @functools.cached_property
    def folder(self) -> Path:
        """The folder of its epochs."""
        return location() / fingerprint(self.key)

    @property
    def epoch_bytes(self) -> int:
        """The size of an epoch's file."""
        return epoch_bytes(self.shape)

    def has(self, epoch: int) -> bool:
        """Whether an epoch is stored; `open` verifies it."""
        return os.path.isfile(self._epoch_folder(epoch) / MANIFEST)

    def count_stored(self, epochs: int) -> int:
        """How many of the first `epochs` epochs are stored."""
        return sum(self.has(epoch) for epoch in range(epochs))

    def open(self, epoch: int) -> Rows | None:
        """An epoch's logits `[steps, B, K]`, memory-mapped and verified; None where they are not stored.

        Logits that are damaged or of another key are reported and deleted.
        """
        place = self._epoch_folder(epoch)
        if not os.path.isdir(place):  # unlike Path.is_dir, False where it may not be looked at
            return None
        try:
            return self._verified(epoch)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            self.say(f"{place}: damaged ({reason}); deleted; the teacher computes the outputs again")
            discard(place)
            return None

    def start_writing(self, epoch: int) -> EpochWriter:
        """Start to store an epoch, from its first step on; what killed writers left is removed. Raises WriteError."""
        make_folder(self.folder)
        with explain_os_errors(self.folder):
            remove_leftovers(self.folder, shared=True)
        return EpochWriter(self, epoch)

    def manifest(self, epoch: int, sha256: str) -> bytes:
        """The content of the manifest of an epoch's file with this checksum."""
        about = {"epoch": epoch, "size": self.epoch_bytes, "sha256": sha256, "made_of": self.key}
        return (json.dumps(about, indent=1, sort_keys=True) + "\n").encode()

    def _epoch_folder(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:06d}"

    def _verified(self, epoch: int) -> Rows:
        place = self._epoch_folder(epoch)
        manifest = (place / MANIFEST).read_bytes()
        if (place / LOGITS).stat().st_size != self.epoch_bytes:
            raise ValueError(f"{(place / LOGITS).stat().st_size} bytes instead of {self.epoch_bytes}")
        content = np.memmap(place / LOGITS, np.uint8, mode="r")
        sha256 = hashlib.sha256(content.data).hexdigest()
        # Any other manifest is of another teacher or other views, or is damaged.
        if manifest != self.manifest(epoch, sha256):
            raise ValueError("its checksum does not match")
        return content[len(_header(self.shape)) :].view(VALUE).reshape(self.shape)


class EpochWriter:
    """Stores an epoch: `add` for each step in order, then `commit`, which makes it visible.

    Plain writes are used instead of a memory map: a full disk is then an error, not a crash. `close` discards what has
    not been committed; the folder of a killed process is removed by the next writer. All methods raise WriteError.
    """

    def __init__(self, bank: OutputsBank, epoch: int) -> None:
        self.bank, self.epoch, self.steps = bank, epoch, 0
        self._sha256 = hashlib.sha256()
        self._open = contextlib.ExitStack()
        with explain_os_errors(bank.folder):
            self._temporary = self._open.enter_context(temporary_folder(bank.folder))
            self._file = self._open.enter_context((self._temporary / LOGITS).open("xb"))
        self._write(_header(bank.shape))

    def add(self, rows: Rows) -> None:
        """Append the logits `[B, K]` of the next step."""
        if rows.dtype != VALUE or rows.shape != self.bank.shape[1:]:
            raise ValueError(f"logits are {rows.dtype} {rows.shape}, the bank's are {VALUE} {self.bank.shape[1:]}")
        self._write(np.ascontiguousarray(rows).data.cast("B"))
        self.steps += 1

    def commit(self) -> None:
        """Publish the epoch, once all steps are added. If another process was first, its epoch stays."""
        if self.steps != self.bank.shape[0]:
            raise ValueError(f"{self.steps} steps of {self.bank.shape[0]} were written")
        place = self.bank._epoch_folder(self.epoch)
        with explain_os_errors(place), self._open:
            self._file.close()
            write_new(self._temporary / MANIFEST, self.bank.manifest(self.epoch, self._sha256.hexdigest()))
            publish(self._temporary, place, existing="keep")

    def close(self) -> None:
        """Discard what has not been committed."""
        with contextlib.suppress(OSError):  # the last flush may report a full disk once more
            self._open.close()

    def _write(self, content: bytes | memoryview) -> None:
        with explain_os_errors(self._temporary):
            self._file.write(content)
        self._sha256.update(content)


def epoch_bytes(shape: tuple[int, int, int]) -> int:
    """The size of the file of an epoch. shape: steps, images per view, classes."""
    steps, batch, classes = shape
    return len(_header(shape)) + steps * batch * classes * VALUE.itemsize


def _header(shape: tuple[int, int, int]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": VALUE.str, "fortran_order": False, "shape": shape})
    return header.getvalue()


# The contents of the cache, for `limbeck cache`


@dataclass(frozen=True)
class BankEntry:
    """One bank in the cache. key: what determines its logits. size: bytes of all its epochs."""

    fingerprint: str
    key: Mapping[str, Any]
    epochs: int
    size: int

    @property
    def model(self) -> str:
        """The name of the teacher's model."""
        return str(self.key["built_from"]["model"]["name"])


def entries() -> list[BankEntry]:
    """All banks in the cache, sorted by model."""
    found = [entry for folder in _folders() if (entry := _entry(folder)) is not None]
    return sorted(found, key=lambda entry: (entry.model, entry.fingerprint))


def size() -> int:
    """Bytes on disk, including what is being written."""
    return sum(bytes_below(folder) for folder in _folders())


def clean() -> int:
    """Delete every bank and what killed writers left; returns the bytes freed. Other files are left alone."""
    before = size()
    for folder in _folders():
        remove_leftovers(folder, shared=True)
        for epoch in folder.glob("epoch-*"):
            discard(epoch)
        with contextlib.suppress(OSError):  # a process is writing here
            folder.rmdir()
    return before - size()


def _entry(folder: Path) -> BankEntry | None:
    manifests = list(folder.glob(f"epoch-*/{MANIFEST}"))
    for manifest in manifests:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads(manifest.read_bytes())["made_of"]
            entry = BankEntry(folder.name, about, len(manifests), bytes_below(folder))
            return entry if entry.model else None
    return None  # removed by another process, or nothing committed yet


def _folders() -> Iterator[Path]:
    """The folders of banks; other files there are left alone."""
    yield from sorted(location().glob("[0-9a-f]" * 64))

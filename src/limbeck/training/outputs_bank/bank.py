"""A teacher's logits for the views of an epoch: stored once, read by later runs.

CACHE/outputs/FINGERPRINT/epoch-000000/    logits.f16 and manifest.json

`logits.f16` is a header of one line (that of NumPy's `.npy`) and float16 `[steps, B, K]`, read as a memory map. The
fingerprint is of everything that shaped the numbers, so what does not fit is not found. An epoch's folder is written
beside its place, flushed and renamed: it is whole or it is not there. Every byte is verified when it is opened.
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


def fingerprint(made_of: Mapping[str, Any]) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class OutputsBank:
    """The logits of one teacher for the views of one recipe and seed, epoch by epoch.

    made_of: everything that shaped the numbers, as plain data. shape: of an epoch's logits: steps, images a view,
    classes. say: told in one line of a file that is damaged. Epochs are those in which views were drawn.
    """

    made_of: Mapping[str, Any]
    shape: tuple[int, int, int]
    say: Callable[[str], None] = lambda line: None

    @functools.cached_property
    def folder(self) -> Path:
        """Where its epochs lie."""
        return location() / fingerprint(self.made_of)

    @property
    def epoch_bytes(self) -> int:
        """Of an epoch's file."""
        return epoch_bytes(self.shape)

    def holds(self, epoch: int) -> bool:
        """Whether an epoch is there; whether it is sound, `open` will see."""
        return os.path.isfile(self._place(epoch) / MANIFEST)

    def held(self, epochs: int) -> int:
        """How many of the first `epochs` epochs are there."""
        return sum(self.holds(epoch) for epoch in range(epochs))

    def open(self, epoch: int) -> Rows | None:
        """An epoch's logits `[steps, B, K]`, mapped and verified; None where there are none.

        What is damaged, or not what its place says, is told and thrown away.
        """
        place = self._place(epoch)
        if not os.path.isdir(place):  # unlike Path.is_dir, False where it may not be looked at
            return None
        try:
            return self._verified(epoch)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            self.say(f"{place}: damaged ({reason}); thrown away, and the teacher is asked again")
            discard(place)
            return None

    def begin(self, epoch: int) -> EpochWriter:
        """A writer of an epoch, from its first step on; what killed writers left is removed.

        Raises LimbeckError with the path and the reason where nothing can be written.
        """
        make_folder(self.folder)
        with explain_os_errors(self.folder):
            remove_leftovers(self.folder, shared=True)
        return EpochWriter(self, epoch)

    def manifest(self, epoch: int, sha256: str) -> bytes:
        """What stands beside an epoch's file of this checksum, to the byte."""
        about = {"epoch": epoch, "size": self.epoch_bytes, "sha256": sha256, "made_of": self.made_of}
        return (json.dumps(about, indent=1, sort_keys=True) + "\n").encode()

    def _place(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:06d}"

    def _verified(self, epoch: int) -> Rows:
        place = self._place(epoch)
        manifest = (place / MANIFEST).read_bytes()
        if (place / LOGITS).stat().st_size != self.epoch_bytes:
            raise ValueError(f"{(place / LOGITS).stat().st_size} bytes, written were {self.epoch_bytes}")
        content = np.memmap(place / LOGITS, np.uint8, mode="r")
        sha256 = hashlib.sha256(content.data).hexdigest()
        # Whatever else a manifest says, it is not this one: of another teacher, other views, or not as it was written.
        if manifest != self.manifest(epoch, sha256):
            raise ValueError("its checksum does not fit")
        return content[len(_header(self.shape)) :].view(VALUE).reshape(self.shape)


class EpochWriter:
    """An epoch on its way to the disk: each step in turn, then `seal`; nobody sees it before.

    Plain writes, not a memory map: a full disk is then an error, not a dead process. `close` gives up what is not
    sealed; the folder of a process that was killed is removed by the next writer.
    Raises LimbeckError with the path and the reason.
    """

    def __init__(self, bank: OutputsBank, epoch: int) -> None:
        self.bank, self.epoch, self.steps = bank, epoch, 0
        self._sum = hashlib.sha256()
        self._open = contextlib.ExitStack()
        with explain_os_errors(bank.folder):
            self._beside = self._open.enter_context(temporary_folder(bank.folder))
            self._file = self._open.enter_context((self._beside / LOGITS).open("xb"))
        self._write(_header(bank.shape))

    def add(self, rows: Rows) -> None:
        """The logits `[B, K]` of the next step."""
        if rows.dtype != VALUE or rows.shape != self.bank.shape[1:]:
            raise ValueError(f"logits are {rows.dtype} {rows.shape}, the bank's are {VALUE} {self.bank.shape[1:]}")
        self._write(np.ascontiguousarray(rows).data.cast("B"))
        self.steps += 1

    def seal(self) -> None:
        """All steps are written: put the epoch in its place. Where another process was first, its epoch stays."""
        if self.steps != self.bank.shape[0]:
            raise ValueError(f"{self.steps} steps of {self.bank.shape[0]} were written")
        place = self.bank._place(self.epoch)
        with explain_os_errors(place), self._open:
            self._file.close()
            write_new(self._beside / MANIFEST, self.bank.manifest(self.epoch, self._sum.hexdigest()))
            publish(self._beside, place, existing="keep")

    def close(self) -> None:
        """Remove what is not sealed."""
        with contextlib.suppress(OSError):  # a full disk, told before, may be told again by the last flush
            self._open.close()

    def _write(self, content: bytes | memoryview) -> None:
        with explain_os_errors(self._beside):
            self._file.write(content)
        self._sum.update(content)


def epoch_bytes(shape: tuple[int, int, int]) -> int:
    """Of the file of an epoch with so many steps, images a view and classes."""
    steps, batch, classes = shape
    return len(_header(shape)) + steps * batch * classes * VALUE.itemsize


def _header(shape: tuple[int, int, int]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": VALUE.str, "fortran_order": False, "shape": shape})
    return header.getvalue()


# What there is, for `limbeck cache`


@dataclass(frozen=True)
class BankEntry:
    """One bank in the cache. made_of: what shaped its numbers. size: bytes of all its epochs."""

    fingerprint: str
    made_of: Mapping[str, Any]
    epochs: int
    size: int

    @property
    def model(self) -> str:
        """The name of its teacher's model."""
        return str(self.made_of["built_from"]["model"]["name"])


def entries() -> list[BankEntry]:
    """What the cache holds, by model."""
    found = [entry for folder in _folders() if (entry := _entry(folder)) is not None]
    return sorted(found, key=lambda entry: (entry.model, entry.fingerprint))


def size() -> int:
    """Bytes on disk, what is being written included."""
    return sum(bytes_below(folder) for folder in _folders())


def clean() -> int:
    """Remove every bank, and what killed writers left; returns the bytes freed. Other files stay."""
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
    return None  # removed by another process, or nothing sealed yet


def _folders() -> Iterator[Path]:
    """Banks; nothing that a person may have put beside them."""
    yield from sorted(location().glob("[0-9a-f]" * 64))

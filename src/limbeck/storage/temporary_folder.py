"""Folders that are being written: `.tmp-…`, locked while their writer lives, removed once it does not.

The lock is the kernel's (`flock` on the folder), so it goes with its process however that ends. Where there
is no such lock (Windows, some network drives), a folder counts as left behind after a day.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from limbeck.console import progress_bar

from .atomic import files_below

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PREFIX = ".tmp-"
LEFT_BEHIND = 24 * 3600.0  # seconds, where there are no locks


@contextmanager
def folder(parent: Path) -> Iterator[Path]:
    """A new folder beside its final place. It is deleted at the end unless it was renamed away.

    Raises OSError where `parent` cannot be written.
    """
    path, lock = _claim_new(parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _claim_new(parent: Path) -> tuple[Path, int | None]:
    while True:
        path = parent / f"{PREFIX}{uuid.uuid4().hex}"
        path.mkdir(parents=True)
        # Between mkdir and lock another process may take the folder for one left behind and remove it.
        with contextlib.suppress(FileNotFoundError):
            lock = _lock(path, wait=True)
            if is_there(path, lock):
                return path, lock
            if lock is not None:
                os.close(lock)


def is_there(path: Path, lock: int | None) -> bool:
    """Whether what was locked, by its descriptor, is still at its path; without locks, whether anything is."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return lock is None or os.path.samestat(os.fstat(lock), status)


def _lock(path: Path, *, wait: bool) -> int | None:
    """The locked folder's descriptor, None where the drive has no locks.

    Raises BlockingIOError if it is held, FileNotFoundError if it is gone, and any other OSError of opening it.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # the folder could be opened, so it is the drive that has no locks
        os.close(descriptor)
        return None
    return descriptor


def remove_left_behind(parent: Path) -> None:
    """Delete the temporary folders whose writer is gone; those in work stay."""
    for path in parent.glob(f"{PREFIX}*"):
        try:
            lock = _lock(path, wait=False)
        except OSError:
            continue  # its writer lives, another process has removed it, or it is none of ours
        with contextlib.suppress(FileNotFoundError):  # another process may be removing it too
            if lock is not None or time.time() - path.stat().st_mtime > LEFT_BEHIND:
                shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder; what others remove in the meantime counts nothing."""
    total = 0
    for file in files_below(folder):
        with contextlib.suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def discard(path: Path) -> None:
    """Delete a finished folder in such a way that nobody ever sees a part of it."""
    gone = path.with_name(f"{PREFIX}{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def lock_file(file: IO[bytes], message: str) -> None:
    """Hold a file for this process until it is closed; while another holds it, say `message` and wait."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress_bar.notice(message)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass  # a drive without locks


def settle(path: Path) -> None:
    """Force a file, or a folder's entries, to the disk. After an OSError give up what was written."""
    if path.is_dir() and fcntl is None:
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A lock that the kernel lets go of when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import LimbeckError
from .files import saying_where


@contextlib.contextmanager
def held(path: Path, *, shared: bool = False) -> Iterator[str | None]:
    """Hold a lock file, or learn who does: gives None where it is ours, else a few words for its holder.

    shared: several may hold it at once, as long as nobody holds it alone.
    Raises LimbeckError where the file cannot be made or locked.
    """
    with saying_where(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "another process"
            return
        except OSError as error:
            raise LimbeckError(f"{path}: cannot be locked: {error.strerror or error}") from error
        if not shared:
            with saying_where(path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield None
    finally:
        os.close(descriptor)

"""Lock files. The kernel releases a lock when the process that holds it ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from limbeck.errors import LimbeckError

from .atomic import explain_os_errors, is_at


@dataclass(frozen=True)
class Lock:
    """The result of `try_lock`. holder: who holds the lock, in a few words; None if this process does."""

    path: Path
    descriptor: int
    holder: str | None

    @property
    def acquired(self) -> bool:
        """Whether this process holds the lock."""
        return self.holder is None

    def is_valid(self) -> bool:
        """Whether the locked file is still the one at its path: a removed one keeps no other process out."""
        try:
            return is_at(self.path, self.descriptor)
        except OSError:
            return False


@contextlib.contextmanager
def try_lock(path: Path, *, shared: bool = False) -> Iterator[Lock]:
    """Lock a file for the block, or learn which process holds it. Does not wait.

    shared: several processes may hold a shared lock at once, while none holds an exclusive one.
    Raises LimbeckError where the file cannot be created or locked.
    """
    with explain_os_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
            yield Lock(path, descriptor, holder or "another process")
            return
        except OSError as error:
            raise LimbeckError(f"{path}: cannot be locked: {error.strerror or error}") from error
        if not shared:
            with explain_os_errors(path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield Lock(path, descriptor, None)
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool | None:
    """Whether any process holds a lock on the file, without taking it for a moment; None where the system does not say.

    `flock` would have to acquire the lock, and a run that starts at that moment would take it for another run. Linux
    lists the locks of all visible processes in /proc/locks.
    """
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return None if path.exists() else False
    except (OSError, ValueError):
        return None
    return any(f":{inode} " in line and " FLOCK " in line for line in lines)


def wait_for_lock(file: IO[bytes], waiting: Callable[[], object]) -> None:
    """Lock an open file until it is closed, and call `waiting` first if another process holds it.

    Does nothing on a drive without locks, as some network drives.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass

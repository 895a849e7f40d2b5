"""A lock that the kernel lets go of when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from limbeck.errors import LimbeckError

from .atomic import saying_where


@dataclass(frozen=True)
class Held:
    """A lock file that was asked for. holder: who has it, in a few words; None where it is ours."""

    path: Path
    descriptor: int
    holder: str | None

    @property
    def ours(self) -> bool:
        """Whether we have it."""
        return self.holder is None

    def there(self) -> bool:
        """Whether the file that we hold is still the one at its path: a removed one keeps nobody out."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), os.stat(self.path))
        except OSError:
            return False


@contextlib.contextmanager
def held(path: Path, *, shared: bool = False) -> Iterator[Held]:
    """Hold a lock file, or learn who does.

    shared: several may hold it at once, as long as nobody holds it alone.
    Raises LimbeckError where the file cannot be made or locked.
    """
    with saying_where(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
            yield Held(path, descriptor, holder or "another process")
            return
        except OSError as error:
            raise LimbeckError(f"{path}: cannot be locked: {error.strerror or error}") from error
        if not shared:
            with saying_where(path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield Held(path, descriptor, None)
    finally:
        os.close(descriptor)

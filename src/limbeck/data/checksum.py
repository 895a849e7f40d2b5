"""SHA-256 of a file against the one that is known."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

from limbeck.errors import LimbeckError


def check(file: IO[bytes], expected: str, where: Path | str) -> None:
    """Read an open file to its end. Raises LimbeckError that names both checksums where they differ."""
    found = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    if found != expected:
        raise LimbeckError(
            f"{where}: not the official file: its SHA-256 is {found}, the official one's is {expected}; "
            "nothing was read"
        )

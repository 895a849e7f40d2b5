"""States packed into files and read back, as a checkpoint does it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.storage.atomic import write_new
from limbeck.training.snapshot import pack, unpack


def packed(state: object, name: str = "x") -> dict[str, bytes]:
    """The content of the files of a state."""
    return {file: c if isinstance(c, bytes) else b"".join(c()) for file, c in pack(name, state).items()}


def restored(files: Mapping[str, bytes], name: str | None = None) -> Any:
    """The state that the files hold."""
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            write_new(Path(folder, file), content)
        return unpack(name or next(iter(files)).removesuffix(".safetensors"), Path(folder))

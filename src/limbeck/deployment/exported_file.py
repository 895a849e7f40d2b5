"""What the formats of exported files share: metadata, reading, and exporters that talk too much."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError

METADATA = "limbeck"
"""The key of the metadata. Its value is JSON."""


def metadata_text(about: Mapping[str, Any]) -> str:
    """`about` as the JSON that files keep."""
    return json.dumps(dict(about), ensure_ascii=False)


def metadata(path: Path, text: str | None) -> dict[str, Any]:
    """What a file says of itself. Raises LimbeckError where Limbeck did not write it."""
    with contextlib.suppress(ValueError, RecursionError):
        about = json.loads(text or "")
        if isinstance(about, dict) and {"class_names", "image_shape", "layout"} <= set(about):
            return about
    raise LimbeckError(f"{path}: was not written by `limbeck export`, so its input is unknown")


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises LimbeckError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise LimbeckError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without an exporter's progress messages and the warnings about its own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with (
        warnings.catch_warnings(),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

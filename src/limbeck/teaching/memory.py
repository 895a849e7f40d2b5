"""Out of memory, said in words that help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from limbeck.runs.errors import LimbeckError


@contextlib.contextmanager
def naming_memory(model: str, batch: int) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one line: the model, the batch size and what to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise LimbeckError(_message(model, batch)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        raise LimbeckError(_message(model, batch)) from error


def _message(model: str, batch: int) -> str:
    return (
        f"out of memory at {model!r} with a batch of {batch} images; "
        f"lower views.batch_size (try {max(1, batch // 2)}), a resolution, or the number of arms taught together"
    )

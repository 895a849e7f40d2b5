"""Out of memory, said in words that help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from limbeck.errors import LimbeckError


@contextlib.contextmanager
def naming_memory(model: str, batch: int) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one line: the model, the batch size and what to lower."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise LimbeckError(_message(model, batch)) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch says that memory is not enough, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "out of memory")
    )


def _message(model: str, batch: int) -> str:
    return (
        f"out of memory at {model!r} with a batch of {batch} images; "
        f"lower views.batch_size (try {max(1, batch // 2)}), a resolution, or the number of arms taught together"
    )

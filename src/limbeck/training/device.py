"""The choice of the device."""

from __future__ import annotations

import torch

from limbeck.errors import LimbeckError


def choose_device(word: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises LimbeckError that lists the available devices if this one is not available.
    """
    present = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present.append("mps")
    if word == "auto":
        return torch.device(present[-1] if present[-1] == "mps" else present[1] if len(present) > 1 else "cpu")
    if word == "cuda" and "cuda:0" in present:
        return torch.device("cuda:0")
    if word not in present:
        raise LimbeckError(f"device: {word!r} is not here; there is {', '.join(present)}")
    return torch.device(word)

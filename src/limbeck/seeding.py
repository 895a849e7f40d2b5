"""Random numbers by name: every draw is a pure function of what it is for.

Nothing here has a state that a resume would have to restore.
"""

from __future__ import annotations

import hashlib

import torch


def key(*parts: object) -> int:
    """A 63-bit number that depends on every part and on their order, the same on every machine.

    Parts are read by their `repr`, so pass ints, strings, floats and tuples of them.
    """
    digest = hashlib.sha256("\x1f".join(map(repr, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: object) -> torch.Generator:
    """A CPU generator for one purpose, for example `generator(fingerprint, seed, epoch, step, "crop")`."""
    return torch.Generator().manual_seed(key(*parts))


def seed_everything(*parts: object) -> None:
    """Set torch's own generators (weights, dropout) on every device."""
    torch.manual_seed(key(*parts))


def seed_device(device: torch.device, *parts: object) -> None:
    """Set the generators that a model on `device` reads, as `seed_everything` does; cheap enough for every step.

    On a CPU it leaves out the stack trace that torch keeps for a GPU not yet in use (0.15 ms a call).
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(key(*parts))
    else:
        seed_everything(*parts)

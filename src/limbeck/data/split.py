"""Stratified splits that depend on the data alone, never on a seed.

Images of a class are ranked by a hash, and the first ones are held out. So the same data give the same split
on every machine and in every version, and what a small fraction holds out a larger one holds out too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch

from limbeck.runs.errors import LimbeckError
from limbeck.types import Split


def hold_out(split: Split, fraction: float, fingerprint: str) -> tuple[Split, Split]:
    """Part a split in two, (kept, held out): each keeps the order of its images. No pixel is copied.

    Of a class with n images, n · fraction are held out, halves rounded up; the fraction is taken as the
    decimal that was written (0.1 is a tenth). The fingerprint is the data set's.
    Raises LimbeckError unless 0 < fraction < 1, and where a class would have no image on one side.
    """
    labels = split.labels.numpy()
    names = [f"class {label}" for label in range(int(labels.max(initial=-1)) + 1)]
    held = stratify(labels, fraction, [f"{fingerprint}/{i}" for i in range(len(labels))], names)
    return split.part(torch.from_numpy(np.flatnonzero(~held))), split.part(torch.from_numpy(np.flatnonzero(held)))


def stratify(labels: np.ndarray, fraction: float, keys: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Which of the images are held out, `[N]` bool.

    labels: `[N]`. keys: `[N]`, what is hashed to rank an image within its class. names: of the classes, for
    the error.
    Raises LimbeckError as `hold_out` does.
    """
    share = check_fraction(fraction)
    ranks = np.array([_rank(key) for key in keys], dtype=np.uint64)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = math.floor(len(members) * share + Fraction(1, 2))
        if not 0 < count < len(members):
            raise LimbeckError(
                f"{names[label]} has {len(members)} image{'s' * (len(members) != 1)}: holding out {fraction} "
                f"of them leaves none {'on the held-out side' if count == 0 else 'to train on'}; "
                f"at least {_least(share)} are needed"
            )
        held[members[np.argsort(ranks[members], kind="stable")[:count]]] = True
    return held


def check_fraction(fraction: float) -> Fraction:
    """The decimal that a person wrote. Raises LimbeckError unless it lies between 0 and 1."""
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise LimbeckError(f"a part to hold out lies between 0 and 1 (0.1 is a tenth); got {fraction!r}")
    return Fraction(repr(float(fraction)))


def _least(share: Fraction) -> int:
    """The fewest images of a class of which both sides get one."""
    count = 2
    while not 0 < math.floor(count * share + Fraction(1, 2)) < count:
        count += 1
    return count


def _rank(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[:8], "big")

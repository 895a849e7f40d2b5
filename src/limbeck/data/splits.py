"""Stratified splits that depend only on the data, never on a random seed.

The images of a class are ranked by a hash, and the first ones are held out. The same data therefore give the same split
on every machine and in every version, and a larger fraction holds out a superset of what a smaller one does.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch

from limbeck.errors import LimbeckError
from limbeck.types import Split

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Common names of the three splits."""


def stratified_split(split: Split, fraction: float, key: str) -> tuple[Split, Split]:
    """Divide a split into (retained, held out), both in the original order. No pixels are copied.

    n · fraction images of a class of n are held out, with halves rounded up. The fraction is read as a decimal, so 0.1
    is exactly a tenth. A class of three or more images has at least one image on each side. A class of one or two
    images is retained as a whole if either side would be empty.
    key: the data set's `split_key`, or its fingerprint.
    Raises LimbeckError unless 0 < fraction < 1, and if no class is large enough.
    """
    labels = split.labels.numpy()
    return _split_by_mask(split, stratified_mask(labels, fraction, [f"{key}/{i}" for i in range(len(labels))]))


def stratified_subset(split: Split, fraction: float, key: str) -> Split:
    """A subset of a split with about this fraction of each class, and at least one image of each.

    key: as in `stratified_split`, which holds out the same images of large classes for the same arguments.
    Raises LimbeckError unless 0 < fraction < 1.
    """
    labels = split.labels.numpy()
    keys = [f"{key}/{i}" for i in range(len(labels))]
    return _split_by_mask(split, _ranked_first(labels, keys, check_fraction(fraction), lambda n, due: max(due, 1)))[1]


def _split_by_mask(split: Split, held: np.ndarray) -> tuple[Split, Split]:
    return split.part(torch.from_numpy(np.flatnonzero(~held))), split.part(torch.from_numpy(np.flatnonzero(held)))


def stratified_mask(labels: np.ndarray, fraction: float, keys: Sequence[str]) -> np.ndarray:
    """The mask of held-out images, `[N]` bool; see `stratified_split`.

    labels: `[N]`. keys: `[N]`, hashed to rank the images of a class.
    """
    held = _ranked_first(labels, keys, check_fraction(fraction), _held_out_count)
    if not held.any():
        most = int(np.bincount(labels).max(initial=0))
        raise LimbeckError(
            f"no class has enough images to hold out {fraction} of them: the largest has {most}, and at least three "
            "are needed; add images, or provide your own split"
        )
    return held


def _held_out_count(count: int, rounded: int) -> int:
    """How many images of a class are held out. count: its size. rounded: its size times the fraction, rounded."""
    if count >= 3:
        return min(max(rounded, 1), count - 1)
    return rounded if rounded < count else 0


def _ranked_first(
    labels: np.ndarray, keys: Sequence[str], share: Fraction, how_many: Callable[[int, int], int]
) -> np.ndarray:
    """The mask of images whose keys hash lowest in their class, `[N]` bool.

    how_many: number of images from (size of the class, its size times `share`, rounded).
    """
    ranks = np.array([_rank(key) for key in keys], dtype=np.uint64)
    first = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = how_many(len(members), math.floor(len(members) * share + Fraction(1, 2)))
        first[members[np.argsort(ranks[members], kind="stable")[:count]]] = True
    return first


def small_classes_note(names: Sequence[str], split: str) -> list[str]:
    """A note on the classes that are too small for held-out images, if any.

    names: of these classes. split: the held-out split.
    """
    if not names:
        return []
    listed = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
    words = "classes have" if len(names) > 1 else "class has"
    return [f"{len(names):,} {words} too few images for the {split} split; all of them are used for training: {listed}"]


def check_fraction(fraction: float) -> Fraction:
    """The fraction as an exact decimal. Raises LimbeckError unless it lies between 0 and 1."""
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise LimbeckError(f"a held-out fraction must lie between 0 and 1 (0.1 is a tenth); got {fraction!r}")
    return Fraction(repr(float(fraction)))


def _rank(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def split_of_name(name: str) -> str | None:
    """The split named by the first word of a name (`train-00000-of-00002`), or None."""
    word = re.split(r"[-_. ]", name.lower(), maxsplit=1)[0]
    return next((split for split, words in SPLIT_NAMES.items() if word in words), None)

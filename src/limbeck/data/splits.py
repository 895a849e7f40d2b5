"""Stratified splits that depend on the data alone, never on a seed.

Images of a class are ranked by a hash, and the first ones are held out. So the same data give the same split
on every machine and in every version, and a larger fraction holds out everything that a smaller one does.
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
"""Usual names of the three splits."""


def stratified_split(split: Split, fraction: float, key: str) -> tuple[Split, Split]:
    """Split in two, (retained, held out), both in the original order. No pixel is copied.

    Of a class with n images, n · fraction are held out, with halves rounded up; the fraction is taken as the decimal
    that was written (0.1 is a tenth). Of three or more images at least one is held out and at least one retained. Of
    one or two images none is held out if that would leave a side empty.
    key: the data set's `split_key`, or its fingerprint.
    Raises LimbeckError unless 0 < fraction < 1, and if no class is large enough.
    """
    labels = split.labels.numpy()
    return _split_by_mask(split, stratified_mask(labels, fraction, [f"{key}/{i}" for i in range(len(labels))]))


def stratified_subset(split: Split, fraction: float, key: str) -> Split:
    """A subset of a split with about this fraction of each class, and at least one image of each.

    key: as in `stratified_split`. For large classes this is what that function holds out with the same arguments.
    Raises LimbeckError unless 0 < fraction < 1.
    """
    labels = split.labels.numpy()
    keys = [f"{key}/{i}" for i in range(len(labels))]
    return _split_by_mask(split, _ranked_first(labels, keys, check_fraction(fraction), lambda n, due: max(due, 1)))[1]


def _split_by_mask(split: Split, held: np.ndarray) -> tuple[Split, Split]:
    return split.part(torch.from_numpy(np.flatnonzero(~held))), split.part(torch.from_numpy(np.flatnonzero(held)))


def stratified_mask(labels: np.ndarray, fraction: float, keys: Sequence[str]) -> np.ndarray:
    """Which of the images are held out, `[N]` bool, as `stratified_split` says.

    labels: `[N]`. keys: `[N]`, what is hashed to rank an image within its class.
    """
    held = _ranked_first(labels, keys, check_fraction(fraction), _held_of)
    if not held.any():
        most = int(np.bincount(labels).max(initial=0))
        raise LimbeckError(
            f"no class has enough images to hold out {fraction} of them: the largest has {most}, and three are "
            "needed; add images, or bring a split of your own"
        )
    return held


def _held_of(count: int, due: int) -> int:
    """Of a class with so many images, of which so many are due."""
    if count >= 3:
        return min(max(due, 1), count - 1)
    return due if due < count else 0


def _ranked_first(
    labels: np.ndarray, keys: Sequence[str], share: Fraction, how_many: Callable[[int, int], int]
) -> np.ndarray:
    """The images whose keys hash lowest in their class, `[N]` bool. how_many: of (images, due by the share)."""
    ranks = np.array([_rank(key) for key in keys], dtype=np.uint64)
    first = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = how_many(len(members), math.floor(len(members) * share + Fraction(1, 2)))
        first[members[np.argsort(ranks[members], kind="stable")[:count]]] = True
    return first


def small_classes_note(names: Sequence[str], split: str) -> list[str]:
    """A line of the classes that are too small to be held out of; none where there are none.

    names: of these classes. split: what is held out.
    """
    if not names:
        return []
    listed = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
    words = "classes have" if len(names) > 1 else "class has"
    return [f"{len(names):,} {words} too few images for the {split} split and train with all of them: {listed}"]


def check_fraction(fraction: float) -> Fraction:
    """The decimal that a person wrote. Raises LimbeckError unless it lies between 0 and 1."""
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise LimbeckError(f"a part to hold out lies between 0 and 1 (0.1 is a tenth); got {fraction!r}")
    return Fraction(repr(float(fraction)))


def _rank(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def split_of_name(name: str) -> str | None:
    """The split that the first word of a name says (`train-00000-of-00002`), or None."""
    word = re.split(r"[-_. ]", name.lower(), maxsplit=1)[0]
    return next((split for split, words in SPLIT_NAMES.items() if word in words), None)

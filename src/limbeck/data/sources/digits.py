"""The handwritten digits that come inside scikit-learn."""

from __future__ import annotations

import numpy as np

from limbeck.data import cache
from limbeck.data.cache_writer import Contents
from limbeck.data.splits import stratified_mask
from limbeck.errors import LimbeckError
from limbeck.types import Dataset

TEST = 0.2


def build() -> Dataset:
    """Handwritten digits inside scikit-learn: 1,797 images, 8 x 8, 10 classes, no download.

    Grey levels 0 to 16 become 0 to 255. The split is Limbeck's own, stratified and fixed: 1,438 to train,
    359 to test.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
    Raises LimbeckError where scikit-learn is not installed.
    """
    return cache.dataset("digits", cache.key("digits", {"test": TEST}), _read)


def _read() -> Contents:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise LimbeckError(
            "digits come inside scikit-learn, which is missing: pip install 'limbeck[digits]'"
        ) from error
    grey, labels = load_digits(return_X_y=True)
    pixels = np.rint(np.asarray(grey).reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8).repeat(3, axis=3)
    labels = np.asarray(labels)
    names = tuple(str(digit) for digit in range(10))
    held = stratified_mask(labels, TEST, [str(i) for i in range(len(labels))])
    return Contents(
        class_names=names,
        sizes={"train": int((~held).sum()), "test": int(held.sum())},
        shape=(8, 8),
        blocks=[(pixels[part], labels[part]) for part in (~held, held)],
        source="scikit-learn's digits",
    )

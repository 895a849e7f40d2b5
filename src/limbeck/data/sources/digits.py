"""The handwritten digits included in scikit-learn."""

from __future__ import annotations

import numpy as np

from limbeck.data import cache
from limbeck.data.cache_writer import Contents
from limbeck.data.splits import stratified_mask
from limbeck.errors import LimbeckError
from limbeck.types import Dataset

TEST_FRACTION = 0.2


def build() -> Dataset:
    """Handwritten digits included in scikit-learn: 1,797 images, 8 x 8, 10 classes, no download.

    Grey levels from 0 to 16 are scaled to 0 to 255. Limbeck's own stratified split is fixed: 1,438 training and 359
    test images.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test set).
    Raises LimbeckError if scikit-learn is not installed.
    """
    return cache.dataset("digits", cache.key("digits", {"test": TEST_FRACTION}), _read)


def _read() -> Contents:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise LimbeckError(
            "digits are part of scikit-learn, which is not installed: pip install 'limbeck[digits]'"
        ) from error
    grey, labels = load_digits(return_X_y=True)
    pixels = np.rint(np.asarray(grey).reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8).repeat(3, axis=3)
    labels = np.asarray(labels)
    names = tuple(str(digit) for digit in range(10))
    held = stratified_mask(labels, TEST_FRACTION, [str(i) for i in range(len(labels))])
    return Contents(
        class_names=names,
        sizes={"train": int((~held).sum()), "test": int(held.sum())},
        shape=(8, 8),
        blocks=[(pixels[part], labels[part]) for part in (~held, held)],
        source="scikit-learn's digits",
    )

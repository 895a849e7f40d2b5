from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.data.sources import digits

load_digits = pytest.importorskip("sklearn.datasets").load_digits


def test_pixels_and_labels_are_scikit_learns():
    data = digits.build()
    grey, labels = load_digits(return_X_y=True)
    ours = torch.cat([data.train.images, data.test.images]).numpy()
    assert (ours == ours[:, :1]).all()  # grey: three equal channels
    levels = np.rint(ours[:, 0].reshape(-1, 64) * (16 / 255))
    both = torch.cat([data.train.labels, data.test.labels]).numpy()

    def rows(values, of):
        return sorted(map(tuple, np.column_stack([values, of]).astype(int).tolist()))

    assert rows(levels, both) == rows(grey, labels)
    assert ours.max() == 255


def test_the_split_is_fixed_and_stratified():
    data = digits.build()
    assert (len(data.train), len(data.test)) == (1438, 359)
    held, whole = data.test.labels.bincount(), torch.cat([data.train.labels, data.test.labels]).bincount()
    assert (held - whole * 0.2).abs().max() <= 0.5
    assert data.class_names == tuple("0123456789")

"""Neuron selectivity transfer against its formula."""

from __future__ import annotations

import pytest
import torch
from published_maps import check_extremes, check_gradient, check_orders, check_scales, of, random_maps

from limbeck.losses import neuron_selectivity


def test_float64_reference() -> None:
    student, teacher = random_maps(0, (2, 2, 3, 3), (2, 3, 2, 2)), random_maps(1, (2, 4, 3, 3), (2, 2, 2, 2))
    expected = []
    for b in range(2):
        total = 0.0
        for f, g in zip(student.features, teacher.features, strict=True):
            channels = []
            for x in (f[b], g[b]):
                rows = [c.flatten().tolist() for c in x]
                channels.append([[v / sum(w * w for w in row) ** 0.5 for v in row] for row in rows])
            for i, j, factor in ((0, 0, 1), (1, 1, 1), (0, 1, -2)):
                kernel = [sum(x * y for x, y in zip(a, c, strict=True)) ** 2 for a in channels[i] for c in channels[j]]
                total += factor * sum(kernel) / len(kernel)
        expected.append(total)
    assert neuron_selectivity(student, teacher, None).tolist() == pytest.approx(expected, rel=1e-10)


def test_invariants() -> None:
    check_gradient("neuron_selectivity")
    check_scales("neuron_selectivity")
    check_orders("neuron_selectivity")
    check_extremes("neuron_selectivity")
    student, teacher = random_maps(2, (3, 2, 4, 4)), random_maps(3, (3, 4, 4, 4))
    value = neuron_selectivity(student, teacher, None)
    assert (value >= 0).all(), "a distance of distributions"
    torch.testing.assert_close(neuron_selectivity(student, of(teacher.features[0].flip(1)), None), value)
    twice = of(student.features[0].repeat(1, 2, 1, 1))
    assert neuron_selectivity(twice, student, None).abs().max() < 1e-12, "the same channels, each twice"

"""Regression of pooled features."""

from __future__ import annotations

import math

import pytest
import torch
from published_maps import check_extremes, check_gradient, check_orders, new_state, of, random_maps, train_state

from limbeck.losses import pooled_features

NOT_ZERO_AT_THE_TEACHER = "the linear layer starts at random weights"


@pytest.mark.parametrize("normalise", [False, True])
def test_float64_reference(normalise: bool) -> None:
    student, teacher = random_maps(0, (4, 3, 2, 2)), random_maps(1, (4, 5, 2, 2))
    state = new_state("pooled_features", student, teacher)
    expected = []
    for f, g in zip(
        state(student.features[-1].mean((2, 3))).tolist(), teacher.features[-1].mean((2, 3)).tolist(), strict=True
    ):
        if normalise:
            f, g = ([math.sqrt(5) * v / math.hypot(*x) for v in x] for x in (f, g))
        expected.append(sum((a - b) ** 2 for a, b in zip(f, g, strict=True)) / 5)
    value = pooled_features(student, teacher, None, normalise=normalise, state=state)
    assert value.tolist() == pytest.approx(expected, rel=1e-12)


def test_a_linear_relation_is_learned_by_the_layer_alone() -> None:
    student = random_maps(2, (9, 3, 2, 2))
    truth = torch.randn(4, 3, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    teacher = of(torch.nn.functional.conv2d(student.features[0], truth))
    state = new_state("pooled_features", student, teacher)
    assert train_state("pooled_features", student, teacher, state) < 1e-12
    torch.testing.assert_close(state.weight, truth[:, :, 0, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("normalise", [False, True])
def test_gradient_order_and_extremes(normalise: bool) -> None:
    check_gradient("pooled_features", normalise=normalise)
    check_orders("pooled_features", normalise=normalise)
    check_extremes("pooled_features", normalise=normalise)

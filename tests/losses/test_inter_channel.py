"""Inter-channel correlation against its formula."""

from __future__ import annotations

import pytest
from published_maps import (
    STUDENT_MAP,
    TEACHER_MAP,
    check_extremes,
    check_gradient,
    check_orders,
    new_state,
    of,
    random_maps,
)  # fmt: skip
from torch import nn

from limbeck.losses import inter_channel


def test_published_value_without_embedding() -> None:
    """Three channels each; the squared error over C is a mean over images."""
    value = inter_channel(of(STUDENT_MAP), of(TEACHER_MAP[:, :3]), None, state=nn.Identity())
    assert value.mean().item() == pytest.approx(1.87864606, rel=1e-7)


def test_float64_reference() -> None:
    student, teacher = random_maps(0, (2, 3, 3, 3)), random_maps(1, (2, 3, 2, 2))
    state = new_state("inter_channel", student, teacher)
    assert isinstance(state, nn.Identity)
    expected = []
    for b in range(2):
        grams = []
        for one in (student, teacher):
            rows = [c.flatten().tolist() for c in one.features[0][b]]
            gram = [[sum(x * y for x, y in zip(a, c, strict=True)) for c in rows] for a in rows]
            grams.append([[v / sum(w * w for w in row) ** 0.5 for v in row] for row in gram])
        expected.append(sum((grams[0][i][j] - grams[1][i][j]) ** 2 for i in range(3) for j in range(3)) / 3)
    assert inter_channel(student, teacher, None, state=state).tolist() == pytest.approx(expected, rel=1e-12)


def test_only_other_channels_need_an_embedding() -> None:
    student, teacher = random_maps(0, (2, 3, 3, 3)), random_maps(1, (2, 5, 2, 2))
    state = new_state("inter_channel", student, teacher)
    assert state[0].weight.shape == (5, 3, 1, 1)
    assert inter_channel(student, teacher, None, state=state).shape == (2,)


def test_gradient_orders_and_extremes() -> None:
    check_gradient("inter_channel")
    check_orders("inter_channel")
    check_extremes("inter_channel")

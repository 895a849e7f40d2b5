"""Similarity-preserving distillation against its formulas."""

from __future__ import annotations

import pytest
import torch
from published_maps import (
    STUDENT_MAP,
    TEACHER_MAP,
    check_extremes,
    check_gradient,
    check_orders,
    check_scales,
    of,
    random_maps,
)  # fmt: skip

from limbeck.losses import similarity_preserving


def test_published_value() -> None:
    value = similarity_preserving(of(STUDENT_MAP), of(TEACHER_MAP), None)
    assert value.item() == pytest.approx(0.14599617, rel=1e-7)


def test_float64_reference() -> None:
    student, teacher = random_maps(0, (4, 2, 3, 3)), random_maps(1, (4, 3, 2, 2))
    grams = []
    for one in (student, teacher):
        rows = [x.flatten().tolist() for x in one.features[-1]]
        gram = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
        grams.append([[v / sum(w * w for w in row) ** 0.5 for v in row] for row in gram])
    expected = sum((grams[0][i][j] - grams[1][i][j]) ** 2 for i in range(4) for j in range(4)) / 16
    assert similarity_preserving(student, teacher, None).item() == pytest.approx(expected, rel=1e-12)


def test_invariants() -> None:
    check_gradient("similarity_preserving")
    check_scales("similarity_preserving")
    check_orders("similarity_preserving")
    check_extremes("similarity_preserving")


def test_flattened_and_not_pooled() -> None:
    """Two maps of one mean but different places differ."""
    a = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    a[0, 0, 0, 0] = a[1, 0, 1, 1] = 1.0
    assert similarity_preserving(of(a), of(torch.ones_like(a)), None) > 0.1


def test_the_last_incomplete_batch_of_one_image_is_finite() -> None:
    student, teacher = random_maps(0, (1, 2, 3, 3)), random_maps(1, (1, 3, 2, 2))
    assert similarity_preserving(student, teacher, None).item() == 0.0

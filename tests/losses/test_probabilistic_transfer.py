"""Probabilistic knowledge transfer against its formulas."""

from __future__ import annotations

import math

import pytest
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

from limbeck.losses import probabilistic_transfer

WEIGHT = 30000.0  # the published weight of a mean over B²


def test_published_value() -> None:
    value = probabilistic_transfer(of(STUDENT_MAP), of(TEACHER_MAP), None)
    assert value.item() == pytest.approx(0.05388813, rel=1e-6)


def test_float64_reference() -> None:
    """The diagonal is kept, and the sum over pairs is divided by B²."""
    student, teacher = random_maps(0, (4, 3, 2, 2)), random_maps(1, (4, 5, 2, 2))
    found = []
    for one in (student, teacher):
        e = one.features[-1].mean((2, 3)).tolist()
        e = [[v / (math.hypot(*x) + 1e-7) for v in x] for x in e]
        near = [[(1 + sum(a * b for a, b in zip(x, y, strict=True))) / 2 for y in e] for x in e]
        found.append([[v / sum(row) for v in row] for row in near])
    q, p = found
    expected = sum(p[i][j] * math.log((p[i][j] + 1e-7) / (q[i][j] + 1e-7)) for i in range(4) for j in range(4)) / 16
    assert probabilistic_transfer(student, teacher, None).item() == pytest.approx(expected, rel=1e-10)


def test_invariants() -> None:
    check_gradient("probabilistic_transfer")
    check_scales("probabilistic_transfer", rtol=1e-3)  # the constant that the published code adds to norms
    check_orders("probabilistic_transfer")
    check_extremes("probabilistic_transfer")

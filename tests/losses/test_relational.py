"""Relational distillation against its formulas."""

from __future__ import annotations

import math

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

from limbeck.losses import relational


def huber(a: float, b: float) -> float:
    d = abs(a - b)
    return d * d / 2 if d < 1 else d - 0.5


def rows(maps: torch.Tensor) -> list[list[float]]:
    return maps.mean((2, 3)).tolist()


@pytest.mark.parametrize(("weights", "published"), [((1.0, 0.0), 0.07809596), ((0.0, 1.0), 0.12191584)])
def test_published_values(weights: tuple[float, float], published: float) -> None:
    value = relational(of(STUDENT_MAP), of(TEACHER_MAP), None, distance_weight=weights[0], angle_weight=weights[1])
    assert value.item() == pytest.approx(published, rel=1e-7)


def test_float64_reference_of_distances() -> None:
    student, teacher = random_maps(0, (4, 3, 2, 2)), random_maps(1, (4, 5, 2, 2))
    found = []
    for one in (student, teacher):
        e = rows(one.features[-1])
        distances = [[math.dist(x, y) for y in e] for x in e]
        mean = sum(map(sum, distances)) / 12  # of the positive ones
        found.append([d / mean for row in distances for d in row])
    expected = 25 * sum(huber(a, b) for a, b in zip(*found, strict=True)) / 16
    assert relational(student, teacher, None, angle_weight=0.0).item() == pytest.approx(expected, rel=1e-12)


def test_float64_reference_of_angles() -> None:
    student, teacher = random_maps(0, (4, 3, 2, 2)), random_maps(1, (4, 5, 2, 2))
    found = []
    for one in (student, teacher):
        e = rows(one.features[-1])
        cosines = []
        for j in range(4):
            for i in range(4):
                for k in range(4):
                    a = [x - y for x, y in zip(e[i], e[j], strict=True)]
                    b = [x - y for x, y in zip(e[k], e[j], strict=True)]
                    size = math.hypot(*a) * math.hypot(*b)
                    cosines.append(sum(x * y for x, y in zip(a, b, strict=True)) / size if size else 0.0)
        found.append(cosines)
    expected = 50 * sum(huber(a, b) for a, b in zip(*found, strict=True)) / 64
    assert relational(student, teacher, None, distance_weight=0.0).item() == pytest.approx(expected, rel=1e-12)


def test_invariants() -> None:
    check_gradient("relational")
    check_scales("relational")
    check_orders("relational")
    check_extremes("relational")
    student, teacher = random_maps(2, (4, 3, 2, 2)), random_maps(3, (4, 5, 2, 2))
    moved = of(teacher.features[0] + 7.0)
    torch.testing.assert_close(relational(student, moved, None), relational(student, teacher, None))


@pytest.mark.parametrize("images", [1, 2])
def test_batches_without_pairs_or_triples_are_finite(images: int) -> None:
    student = random_maps(2, (images, 3, 2, 2))
    leaf = student.features[0].requires_grad_()
    value = relational(of(leaf), random_maps(3, (images, 5, 2, 2)), None)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-12) and leaf.grad is not None and leaf.grad.isfinite().all()

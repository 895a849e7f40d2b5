"""Attention transfer against equation 2."""

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

from limbeck.losses import attention_transfer


def test_published_value() -> None:
    assert attention_transfer(of(STUDENT_MAP), of(TEACHER_MAP), None).mean().item() == pytest.approx(
        0.01714500, rel=1e-6
    )


def test_float64_reference_over_layers() -> None:
    student, teacher = random_maps(0, (3, 2, 3, 3), (3, 4, 2, 2)), random_maps(1, (3, 5, 3, 3), (3, 1, 2, 2))
    expected = []
    for b in range(3):
        total = 0.0
        for f, g in zip(student.features, teacher.features, strict=True):
            rows = []
            for x in (f[b], g[b]):
                q = [
                    sum(float(v) ** 2 for v in x[:, i, j]) / len(x)
                    for i in range(x.shape[1])
                    for j in range(x.shape[2])
                ]
                norm = sum(v * v for v in q) ** 0.5
                rows.append([v / norm for v in q])
            total += sum((a - c) ** 2 for a, c in zip(*rows, strict=True)) / len(rows[0])
        expected.append(total)
    assert attention_transfer(student, teacher, None).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("larger", ["student", "teacher"])
def test_maps_of_two_sizes_are_compared_at_the_smaller(larger: str) -> None:
    large, small = random_maps(2, (3, 2, 4, 4)), random_maps(3, (3, 2, 2, 2))
    pooled = of(torch.nn.functional.avg_pool2d(large.features[0], 2))
    given, expected = ((large, small), (pooled, small)) if larger == "student" else ((small, large), (small, pooled))
    torch.testing.assert_close(attention_transfer(*given, None), attention_transfer(*expected, None))


def test_invariants() -> None:
    check_gradient("attention_transfer")
    check_scales("attention_transfer")
    check_orders("attention_transfer")
    check_extremes("attention_transfer")
    student, teacher = random_maps(4, (3, 2, 4, 4)), random_maps(5, (3, 4, 4, 4))
    moved = of(teacher.features[0].flip(1))
    torch.testing.assert_close(attention_transfer(student, moved, None), attention_transfer(student, teacher, None))

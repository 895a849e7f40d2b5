"""Knowledge review: the hierarchical distance, the fusion and its size."""

from __future__ import annotations

import pytest
import torch
from published_maps import (
    STUDENT_MAP,
    TEACHER_MAP,
    check_extremes,
    check_gradient,
    check_orders,
    new_state,
    random_maps,
)  # fmt: skip
from torch.nn import functional

from limbeck.losses import review
from limbeck.losses.review import hierarchical_distance

NOT_ZERO_AT_THE_TEACHER = "the fusions start at random weights"


def test_published_value_of_the_hierarchical_distance() -> None:
    value = hierarchical_distance(STUDENT_MAP, TEACHER_MAP[:, :3]).mean().item()
    assert value == pytest.approx(0.68918410, rel=1e-7)


def test_the_hierarchical_distance_by_its_formula() -> None:
    one, other = random_maps(0, (2, 3, 8, 8)).features[0], random_maps(1, (2, 3, 8, 8)).features[0]
    errors = [(one - other).square().mean((1, 2, 3))]
    for size in (2, 4, 8):  # 4, 2 and 1 positions a side
        a, b = functional.avg_pool2d(one, size), functional.avg_pool2d(other, size)
        errors.append((a - b).square().mean((1, 2, 3)))
    expected = (errors[0] + errors[1] / 2 + errors[2] / 4 + errors[3] / 8) / 1.875
    torch.testing.assert_close(hierarchical_distance(one, other), expected)
    assert hierarchical_distance(one, one).abs().max() == 0


def test_float64_reference_of_two_stages() -> None:
    student, teacher = random_maps(0, (3, 2, 4, 4), (3, 3, 2, 2)), random_maps(1, (3, 4, 4, 4), (3, 5, 2, 2))
    state = new_state("review", student, teacher)

    def norm(x: torch.Tensor) -> torch.Tensor:
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt()

    expected, deeper = torch.zeros(3, dtype=torch.float64), None
    pooled = [[*one.features, one.features[-1].mean((2, 3), keepdim=True)] for one in (student, teacher)]
    for part, f, g in zip(state, reversed(pooled[0]), reversed(pooled[1]), strict=True):
        u = norm(functional.conv2d(f, part.reduce[0].weight))
        if deeper is not None:
            size = u.shape[-1] // deeper.shape[-1]
            large = deeper.repeat_interleave(size, 2).repeat_interleave(size, 3)
            weights = torch.sigmoid(
                functional.conv2d(torch.cat([u, large], 1), part.weigh[0].weight, part.weigh[0].bias)
            )
            u = u * weights[:, :1] + large * weights[:, 1:]
        deeper = u
        expected = expected + hierarchical_distance(norm(functional.conv2d(u, part.answer[0].weight, padding=1)), g)
    torch.testing.assert_close(review(student, teacher, None, state=state), expected, rtol=1e-10, atol=1e-10)


def test_published_number_of_parameters() -> None:
    """1.81 M for resnet8x4, more than the student."""
    maps = random_maps(0, (1, 64, 4, 4), (1, 128, 2, 2), (1, 256, 1, 1))
    assert sum(p.numel() for p in new_state("review", maps, maps).parameters()) == 1_808_774


def test_gradient_orders_and_extremes() -> None:
    check_gradient("review")
    check_orders("review")
    check_extremes("review")

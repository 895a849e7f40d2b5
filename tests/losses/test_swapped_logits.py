"""Swapped logits against their definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from published_values import check_extremes, check_gradient, check_shifts, divergence, draws

from limbeck.errors import LimbeckError
from limbeck.losses import soft_targets, swapped_logits

NOT_ZERO_AT_THE_TEACHER = "where the teacher is wrong, its logits are exchanged"


def exchanged(z: torch.Tensor, y: int) -> torch.Tensor:
    order = list(range(len(z)))
    first = int(z.argmax())
    order[first], order[y] = order[y], order[first]
    return z[order]


@pytest.mark.parametrize("own_weight", [0.0, 0.5])
def test_float64_reference(own_weight: float) -> None:
    student, teacher, labels = draws(1, batch=12)
    temperatures = (1.0, 2.5, 6.0)
    expected = [
        sum(
            T**2 * (divergence(s, exchanged(t, y), T) + own_weight * divergence(s, exchanged(s, y), T))
            for T in temperatures
        )
        for s, t, y in zip(student, teacher, labels.tolist(), strict=True)
    ]
    value = swapped_logits(student, teacher, labels, temperatures=temperatures, own_weight=own_weight)
    assert value.tolist() == pytest.approx(expected, rel=1e-10)


def test_a_teacher_that_is_right_is_not_changed() -> None:
    student, teacher, _ = draws(2)
    labels = teacher.argmax(-1)
    expected = sum(soft_targets(student, teacher, None, temperature=t) for t in (1.0, 2.0))
    assert torch.equal(swapped_logits(student, teacher, labels, temperatures=[1.0, 2.0]), expected)


def test_no_gradient_flows_into_the_students_own_swapped_logits() -> None:
    """The gradient is T (q − q'), as of a fixed teacher; through q' it would have another part."""
    student, teacher, labels = draws(3)
    gradients = []
    for weight in (1.0, 0.0):
        leaf = student.clone().requires_grad_()
        swapped_logits(leaf, teacher, labels, temperatures=(2.0,), own_weight=weight).sum().backward()
        gradients.append(leaf.grad)
    own = torch.stack([exchanged(s, y) for s, y in zip(student, labels.tolist(), strict=True)])
    expected = 2 * ((student / 2).softmax(-1) - (own / 2).softmax(-1))
    torch.testing.assert_close(gradients[0] - gradients[1], expected, rtol=1e-10, atol=1e-12)
    assert expected.abs().max() > 0.1


def test_invariants() -> None:
    check_gradient(swapped_logits)
    check_shifts(swapped_logits)
    check_extremes(swapped_logits)


@pytest.mark.parametrize("wrong", [[], 4.0, "4", [0.0], [-1.0], [True], [float("nan")], ["4"]])
def test_wrong_temperatures_are_named(wrong: Any) -> None:
    with pytest.raises(LimbeckError, match="swapped_logits: temperatures must be a list of numbers above 0"):
        swapped_logits(*draws(0), temperatures=wrong)


def test_distributions_have_no_target_class() -> None:
    with pytest.raises(LimbeckError, match="swapped_logits needs one target class per image"):
        swapped_logits(torch.zeros(2, 3), torch.zeros(2, 3), torch.full((2, 3), 1 / 3))

"""Refined logit distillation against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from published_values import (
    check_extremes,
    check_gradient,
    check_shifts,
    divergence,
    draws,
    probabilities,
    published_inputs,
)

from limbeck.errors import LimbeckError
from limbeck.losses import rld

NOT_ZERO_AT_THE_TEACHER = "where the teacher is wrong, the label gets the confidence of its first choice"


def test_published_value() -> None:
    student, teacher, _ = published_inputs()
    assert rld(student, teacher, torch.tensor([0, 0, 1, 1])).mean().item() == pytest.approx(12.65205867, rel=1e-8)


@pytest.mark.parametrize(("temperature", "of_confidence"), [(4.0, 1.0), (2.0, 3.0)])
def test_float64_reference(temperature: float, of_confidence: float) -> None:
    student, teacher, labels = draws(1, batch=12)
    expected = []
    for s, t, y in zip(student, teacher, labels.tolist(), strict=True):
        p, q = max(probabilities(t, of_confidence)), probabilities(s, of_confidence)[y]
        scd = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        below = [k for k in range(len(t)) if t[k] < t[y]]
        mcd = divergence(s[below], t[below], temperature) if below else 0.0
        expected.append(0.5 * of_confidence**2 * scd + 6 * temperature**2 * mcd)
    value = rld(
        student, teacher, labels, temperature=temperature, confidence_temperature=of_confidence,
        confidence_weight=0.5, masked_weight=6.0,
    )  # fmt: skip
    assert value.tolist() == pytest.approx(expected, rel=1e-10)


def test_a_target_that_the_teacher_ranks_last_leaves_no_class_to_teach() -> None:
    """A softmax over no class is NaN; a class of the same score is not below the target either."""
    student = torch.tensor([[1.0, 2.0, 0.5], [1.0, 0.0, 3.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    value = rld(student, teacher, torch.tensor([0, 1]), confidence_weight=0.0)
    value.sum().backward()
    assert torch.equal(value, torch.zeros(2, dtype=torch.float64))
    assert student.grad is not None and torch.equal(student.grad, torch.zeros_like(student))


def test_classes_above_the_label_are_not_taught() -> None:
    student, teacher, _ = draws(2)
    labels = teacher.argsort(dim=-1)[:, 3]
    above = teacher > teacher.gather(-1, labels[:, None])
    leaf = student.clone().requires_grad_()
    rld(leaf, teacher, labels, confidence_weight=0.0).sum().backward()
    assert leaf.grad is not None and (leaf.grad[above] == 0).all() and (leaf.grad[~above] != 0).any()


def test_it_ends_at_a_teacher_that_is_right() -> None:
    _, teacher, _ = draws(3)
    assert torch.equal(rld(teacher, teacher, teacher.argmax(-1)), torch.zeros(4, dtype=torch.float64))


def test_invariants() -> None:
    check_gradient(rld)
    check_shifts(rld)
    check_extremes(rld)


def test_distributions_have_no_target_class() -> None:
    with pytest.raises(LimbeckError, match="rld needs one target class per image"):
        rld(torch.zeros(2, 3), torch.zeros(2, 3), torch.full((2, 3), 1 / 3))

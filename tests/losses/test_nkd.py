"""Normalised distillation against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from published_values import check_extremes, check_gradient, check_shifts, draws, probabilities, published_inputs

from limbeck.errors import LimbeckError
from limbeck.losses import cross_entropy, dkd, nkd

NOT_ZERO_AT_THE_TEACHER = "both parts are cross-entropies; the label still pulls by the teacher's probability of it"


@pytest.mark.parametrize(("temperature", "published"), [(1.0, 5.93006390), (2.0, 13.47221504)])
def test_published_value(temperature: float, published: float) -> None:
    assert nkd(*published_inputs(), temperature=temperature).mean().item() == pytest.approx(published, rel=1e-8)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("weight", [0.0, 1.5, 3.5])
def test_float64_reference(temperature: float, weight: float) -> None:
    student, teacher, labels = draws(1)
    expected = []
    for s, t, y in zip(student, teacher, labels.tolist(), strict=True):
        rest = [k for k in range(len(s)) if k != y]
        hat_q, hat_p = probabilities(s[rest], temperature), probabilities(t[rest], temperature)
        others = sum(p * math.log(q) for p, q in zip(hat_p, hat_q, strict=True))
        target = probabilities(t)[y] * math.log(probabilities(s)[y])
        expected.append(-target - weight * temperature**2 * others)
    value = nkd(student, teacher, labels, temperature=temperature, non_target_weight=weight)
    assert value.tolist() == pytest.approx(expected, rel=1e-12)


def test_the_others_learn_as_in_decoupled_distillation() -> None:
    """The two differ by the entropy of the teacher's other classes, which the student cannot change."""
    student, teacher, labels = draws(2)
    gradients = []
    for loss in (nkd, dkd):
        gradient = []
        for weight in (1.0, 0.0):
            leaf = student.clone().requires_grad_()
            loss(leaf, teacher, labels, temperature=2.0, non_target_weight=weight).sum().backward()
            gradient.append(leaf.grad)
        gradients.append(gradient[0] - gradient[1])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_the_target_part_is_cross_entropy_by_the_teachers_confidence() -> None:
    student, teacher, labels = draws(3)
    confidence = teacher.softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    value = nkd(student, teacher, labels, temperature=5.0, non_target_weight=0.0)
    torch.testing.assert_close(value, confidence * cross_entropy(student, None, labels))


def test_invariants() -> None:
    check_gradient(nkd)
    check_shifts(nkd)
    check_extremes(nkd)


def test_distributions_have_no_target_class() -> None:
    with pytest.raises(LimbeckError, match="nkd needs one target class per image"):
        nkd(torch.zeros(2, 3), torch.zeros(2, 3), torch.full((2, 3), 1 / 3))

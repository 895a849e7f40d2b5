"""Transformed teacher matching against its definition: powers of probabilities."""

from __future__ import annotations

import math

import pytest
import torch
from published_values import check_extremes, check_gradient, check_shifts, draws, probabilities, published_inputs

from limbeck.losses import soft_targets, ttm

NOT_ZERO_AT_THE_TEACHER = "it is 0 where the student's logits are the teacher's divided by T"


@pytest.mark.parametrize(("temperature", "weighted", "published"), [(10.0, False, 1.47204241), (5.0, True, 4.73505197)])
def test_published_value(temperature: float, weighted: bool, published: float) -> None:
    value = ttm(*published_inputs(), temperature=temperature, weighted=weighted)
    assert value.mean().item() == pytest.approx(published, rel=1e-8)


@pytest.mark.parametrize("temperature", [1.0, 5.0, 10.0])
def test_float64_reference(temperature: float) -> None:
    student, teacher, labels = draws(1)
    plain, weighted = [], []
    for s, t in zip(student, teacher, strict=True):
        powers = [p ** (1 / temperature) for p in probabilities(t)]
        total = sum(powers)
        pairs = [(w / total, q) for w, q in zip(powers, probabilities(s), strict=True)]
        plain.append(sum(p * math.log(p / q) for p, q in pairs))
        weighted.append(total * plain[-1])
    assert ttm(student, teacher, labels, temperature=temperature).tolist() == pytest.approx(plain, rel=1e-10)
    value = ttm(student, teacher, labels, temperature=temperature, weighted=True)
    assert value.tolist() == pytest.approx(weighted, rel=1e-10)


def test_it_ends_at_the_teachers_logits_divided_by_the_temperature() -> None:
    _, teacher, labels = draws(2)
    leaf = (teacher / 10).requires_grad_()
    value = ttm(leaf, teacher, labels)
    value.sum().backward()
    assert value.abs().max() < 1e-15 and leaf.grad is not None and leaf.grad.abs().max() < 1e-15
    assert (ttm(teacher, teacher, labels) > 0.1).all()


def test_at_temperature_one_it_is_distillation() -> None:
    student, teacher, labels = draws(3)
    expected = soft_targets(student, teacher, None, temperature=1.0)
    torch.testing.assert_close(ttm(student, teacher, labels, temperature=1.0), expected, rtol=0, atol=0)
    torch.testing.assert_close(ttm(student, teacher, labels, temperature=1.0, weighted=True), expected)


def test_a_weight_grows_with_the_teachers_uncertainty() -> None:
    """From 1 for a teacher that is sure to K^(1 − γ) for one that knows nothing."""
    teacher = torch.tensor([[1e3, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0] * 4], dtype=torch.float64)
    student, labels = torch.tensor([[1.0, 2.0, 0.0, 3.0]], dtype=torch.float64).expand(3, 4), torch.zeros(3).long()
    weights = ttm(student, teacher, labels, temperature=5.0, weighted=True) / ttm(
        student, teacher, labels, temperature=5.0
    )
    assert weights[0].item() == pytest.approx(1) and weights[0] < weights[1] < weights[2]
    assert weights[2].item() == pytest.approx(4**0.8)


@pytest.mark.parametrize("weighted", [False, True])
def test_invariants(weighted: bool) -> None:
    check_gradient(lambda *a: ttm(*a, weighted=weighted))
    check_shifts(lambda *a: ttm(*a, weighted=weighted))
    check_extremes(lambda *a: ttm(*a, weighted=weighted))

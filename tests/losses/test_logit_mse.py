"""Squared error between logits."""

from __future__ import annotations

import pytest
import torch
from published_values import check_extremes, check_gradient, check_shifts, draws

from limbeck.losses import logit_mse, soft_targets


def test_float64_reference() -> None:
    student, teacher, labels = draws(1)
    expected = [
        sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / 2
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    assert logit_mse(student, teacher, labels).tolist() == pytest.approx(expected, rel=1e-12)


def test_the_gradient_is_the_gap() -> None:
    student, teacher, labels = draws(2)
    leaf = student.clone().requires_grad_()
    logit_mse(leaf, teacher, labels).sum().backward()
    torch.testing.assert_close(leaf.grad, student - teacher)


def test_centred_it_is_the_limit_of_soft_targets() -> None:
    """K T² KL tends to it for a high temperature; without centring it does not."""
    student, teacher, labels = draws(3)
    student = student + 2.0
    limit = 6 * soft_targets(student, teacher, None, temperature=1e4)
    torch.testing.assert_close(limit, logit_mse(student, teacher, labels, centre=True), rtol=2e-3, atol=0)
    assert (logit_mse(student, teacher, labels) > 1.02 * limit).any()


def test_only_centred_logits_forget_their_mean() -> None:
    check_shifts(lambda *a: logit_mse(*a, centre=True))
    with pytest.raises(AssertionError):
        check_shifts(logit_mse)


@pytest.mark.parametrize("centre", [False, True])
def test_gradcheck_and_extremes(centre: bool) -> None:
    check_gradient(lambda *a: logit_mse(*a, centre=centre))
    check_extremes(lambda *a: logit_mse(*a, centre=centre))

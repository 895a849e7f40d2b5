"""Variational information distillation against equation 5; its variance learns."""

from __future__ import annotations

import math

import pytest
import torch
from published_maps import check_extremes, check_gradient, check_orders, new_state, of, random_maps

from limbeck.losses import variational

NOT_ZERO_AT_THE_TEACHER = "the mean starts at random weights, and log σ² is no distance"


def test_float64_reference() -> None:
    student, teacher = random_maps(0, (3, 2, 2, 2), (3, 3, 1, 1)), random_maps(1, (3, 4, 2, 2), (3, 2, 1, 1))
    state = new_state("variational", student, teacher)
    for part in state:
        part.rho.data = torch.linspace(-1, 2, part.rho.numel(), dtype=torch.float64)
    expected = [0.0, 0.0, 0.0]
    for part, f, g in zip(state, student.features, teacher.features, strict=True):
        mean = part.mean(f)
        for b in range(3):
            terms = []
            for c in range(g.shape[1]):
                variance = math.log(1 + math.exp(part.rho[c].item())) + 1e-5
                for m, t in zip(mean[b, c].flatten().tolist(), g[b, c].flatten().tolist(), strict=True):
                    terms.append(0.5 * ((m - t) ** 2 / variance + math.log(variance)))
            expected[b] += sum(terms) / len(terms)
    assert variational(student, teacher, None, state=state).tolist() == pytest.approx(expected, rel=1e-12)


def test_the_variance_starts_at_five_and_is_best_at_the_residual() -> None:
    student, teacher = random_maps(0, (64, 2, 2, 2)), random_maps(1, (64, 3, 2, 2))
    state = new_state("variational", student, teacher)
    assert state[0].variance().tolist() == pytest.approx([5.0] * 3, rel=1e-6)
    residual = (state[0].mean(student.features[0]) - teacher.features[0]).square().mean(dim=(0, 2, 3)).detach()
    state[0].rho.data = torch.log(torch.expm1(residual - 1e-5))
    best = variational(student, teacher, None, state=state).mean()
    best.backward()
    assert state[0].rho.grad.abs().max() < 1e-10, "the lowest value is where σ² is the mean squared residual"
    for change in (-0.3, 0.3):
        state[0].rho.data += change
        assert variational(student, teacher, None, state=state).mean() > best
        state[0].rho.data -= change


def test_the_variance_is_trained_with_the_rest() -> None:
    """One public implementation keeps ρ in a plain list, which no optimizer sees."""
    maps = random_maps(0, (4, 2, 2, 2), (4, 3, 1, 1))
    state = new_state("variational", maps, maps)
    names = {name for name, _ in state.named_parameters()}
    assert {"0.rho", "1.rho"} <= names
    variational(maps, maps, None, state=state).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in state.parameters())


def test_published_number_of_parameters() -> None:
    maps = random_maps(0, (1, 64, 4, 4), (1, 128, 2, 2), (1, 256, 1, 1))
    assert (
        sum(p.numel() for p in new_state("variational", maps, maps).parameters()) == 3 * (64**2 + 128**2 + 256**2) + 448
    )


def test_gradient_orders_and_extremes() -> None:
    check_gradient("variational")
    check_orders("variational")
    check_extremes("variational")
    large, small = random_maps(2, (2, 2, 4, 4)), random_maps(3, (2, 2, 2, 2))
    state = new_state("variational", large, small)
    pooled = of(torch.nn.functional.avg_pool2d(large.features[0], 2))
    expected = variational(pooled, small, None, state=state)
    torch.testing.assert_close(variational(large, small, None, state=state), expected)

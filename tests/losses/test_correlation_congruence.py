"""Correlation congruence against the paper's kernel, and the form of the code that tables cite."""

from __future__ import annotations

import math

import pytest
import torch
from published_maps import check_extremes, check_gradient, check_orders, loss_of, new_state, random_maps

from limbeck.errors import LimbeckError
from limbeck.losses import correlation_congruence

NOT_ZERO_AT_THE_TEACHER = "each model has its own embedding, which starts at random weights"
WEIGHT = 100.0  # that the docstring advises
PAIR = (random_maps(0, (4, 3, 2, 2)), random_maps(1, (4, 5, 2, 2)))


def embeddings(state: torch.nn.ModuleDict) -> list[torch.Tensor]:
    return [state[who](one.features[-1].mean((2, 3))) for who, one in zip(("student", "teacher"), PAIR, strict=True)]


def test_float64_reference_of_the_kernel() -> None:
    state = new_state("correlation_congruence", *PAIR, dimension=6)
    kernels = []
    for e in embeddings(state):
        unit = [[v / math.dist(row, [0.0] * 6) for v in row] for row in e.tolist()]
        cosines = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in unit] for x in unit]
        series = lambda c: sum((2 * 0.4) ** p / math.factorial(p) * c**p for p in range(3))  # noqa: E731
        kernels.append([[math.exp(-0.8) * series(c) for c in row] for row in cosines])
    expected = sum((kernels[0][i][j] - kernels[1][i][j]) ** 2 for i in range(4) for j in range(4)) / 16
    assert correlation_congruence(*PAIR, None, state=state).item() == pytest.approx(expected, rel=1e-12)


def test_with_many_terms_it_is_the_gaussian_kernel() -> None:
    state = new_state("correlation_congruence", *PAIR, dimension=6)
    kernels = [
        (-0.4 * torch.cdist(unit, unit).square()).exp()
        for unit in (torch.nn.functional.normalize(e, dim=1) for e in embeddings(state))
    ]
    expected = (kernels[0] - kernels[1]).square().mean()
    torch.testing.assert_close(correlation_congruence(*PAIR, None, order=30, state=state), expected)


def test_float64_reference_of_the_neighbours() -> None:
    state = new_state("correlation_congruence", *PAIR, dimension=6)
    e, h = (x.tolist() for x in embeddings(state))
    difference = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(e, h, strict=True)]
    expected = sum(sum(abs(a * b) for a, b in zip(difference[i], difference[i + 1], strict=True)) for i in range(3)) / 3
    value = correlation_congruence(*PAIR, None, form="neighbours", state=state)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_only_the_neighbours_depend_on_the_order() -> None:
    check_orders("correlation_congruence", dimension=6)
    call = loss_of("correlation_congruence", *PAIR, form="neighbours", dimension=6)
    order = [2, 0, 3, 1]
    moved = call(*(one._replace(features=tuple(x[order] for x in one.features)) for one in PAIR))
    assert abs(moved.item() - call(*PAIR).item()) > 1e-4


@pytest.mark.parametrize("form", ["kernel", "neighbours"])
def test_gradient_and_extremes(form: str) -> None:
    check_gradient("correlation_congruence", form=form, dimension=6)
    check_extremes("correlation_congruence", form=form, dimension=6)


@pytest.mark.parametrize("wrong", [{"form": "kernels"}, {"dimension": 0}, {"order": -1}, {"gamma": -1.0}])
def test_options_that_are_not_possible_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(LimbeckError, match=r"^correlation_congruence: [^\n]*expected[^\n]*got"):
        new_state("correlation_congruence", *PAIR, **wrong)

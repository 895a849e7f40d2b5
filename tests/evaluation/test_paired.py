"""Two models on the same images: counts, and an interval that holds what it promises."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.evaluation.paired import paired_difference

FEW = st.integers(0, 30)


def answers(both: int, first: int, second: int, neither: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of two models over three classes, right on so many images: together, alone, alone, never."""
    right = torch.tensor([1] * (both + first) + [0] * (second + neither))
    other = torch.tensor([1] * both + [0] * first + [1] * second + [0] * neither)
    labels = torch.arange(len(right)) % 3
    one, two = (torch.eye(3)[(labels + 1 - hit) % 3] for hit in (right, other))
    return one, two, labels


@given(FEW, FEW, FEW, FEW)
@settings(deadline=None)
def test_counts_and_symmetry(both: int, first: int, second: int, neither: int) -> None:
    one, two, labels = answers(both, first, second, neither + 1)
    found, swapped = paired_difference(one, two, labels), paired_difference(two, one, labels)
    n = len(labels)
    assert (found.n, found.only_first, found.only_second) == (n, first, second)
    assert found.difference == pytest.approx((first - second) / n)
    assert found.agreement == pytest.approx((both + neither + 1) / n)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))
    assert -1 <= found.low < (first - second) / (n + 2) < found.high <= 1


def test_against_the_formula() -> None:
    """Bonett & Price 2012, equation 5, for 40 and 20 images of 500."""
    found = paired_difference(*answers(400, 40, 20, 40))
    first, second = 41 / 502, 21 / 502
    reach = 1.96 * math.sqrt((first + second - (first - second) ** 2) / 502)
    assert found.low == pytest.approx(first - second - reach, abs=1e-5)
    assert found.high == pytest.approx(first - second + reach, abs=1e-5)


@pytest.mark.parametrize(("only_first", "only_second"), [(0.1, 0.05), (0.3, 0.3), (0.02, 0.0)])
def test_the_interval_covers_the_truth(only_first: float, only_second: float) -> None:
    generator = torch.Generator().manual_seed(0)
    n, trials, covered = 200, 600, 0
    for _ in range(trials):
        u = torch.rand(n, generator=generator)
        first = int((u < only_first).sum())
        second = int((u > 1 - only_second).sum())
        found = paired_difference(*answers(n - first - second, first, second, 0))
        covered += found.low <= only_first - only_second <= found.high
    assert 0.93 <= covered / trials <= 0.995


def test_no_answer_is_wrong() -> None:
    one, two, labels = answers(3, 0, 0, 0)
    two[0] = torch.nan
    found = paired_difference(one, two, labels)
    assert (found.only_first, found.only_second) == (1, 0)


@pytest.mark.parametrize("shape", [(4, 3), (3, 2), (0, 3)])
def test_other_shapes_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(LimbeckError, match="expected two sets of logits"):
        paired_difference(torch.zeros(shape), torch.zeros(3, 3), torch.zeros(3, dtype=torch.int64))

"""Intervals against scipy, words against the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.report import formatting, statistics

stats = pytest.importorskip("scipy.stats")
VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=12)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 29, 120])
@pytest.mark.parametrize("inside", [0.5, 0.95, 0.99])
def test_the_t_quantile(degrees: int, inside: float) -> None:
    expected = stats.t.ppf(0.5 + inside / 2, degrees)
    assert statistics.student_t_quantile(degrees, inside) == pytest.approx(expected, rel=1e-9)


@given(VALUES)
def test_mean_and_spread(values: list[float]) -> None:
    assert statistics.mean(values) == pytest.approx(np.mean(values), abs=1e-9)
    assert statistics.standard_deviation(values) == pytest.approx(np.std(values, ddof=1), abs=1e-9)


@given(VALUES)
def test_the_paired_interval(values: list[float]) -> None:
    found = statistics.paired_interval(values)
    reach = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    assert found.low == pytest.approx(np.mean(values) - reach, abs=1e-6)
    assert found.high == pytest.approx(np.mean(values) + reach, abs=1e-6)
    assert found.includes_zero == (found.low <= 0 <= found.high)  # pyright: ignore[reportOptionalOperand]


def test_one_seed_is_no_finding() -> None:
    found = statistics.paired_interval([3.0])
    assert (found.low, found.high) == (None, None)
    assert found.includes_zero
    assert formatting.format_interval(found) == "+3.00 (n = 1)"
    assert formatting.format_spread([84.614]) == "84.61 (n = 1)"


def test_numbers_in_words() -> None:
    assert formatting.format_spread([84.0, 85.0, 86.0]) == "85.00 ± 1.00 (n = 3)"
    assert formatting.format_spread([84.0, math.nan]) == "84.00 (n = 1)"
    assert formatting.format_spread([]) == "–"
    assert formatting.format_number(-0.001) == "0.00", "no negative zero"
    assert formatting.format_signed(-1.5) == "−1.50"
    assert formatting.format_interval(statistics.Interval(1.5, 1.0, 2.0, 3)) == "+1.50 [+1.00, +2.00] (n = 3)"


@given(st.integers(1, 400), st.floats(0.01, 0.9), st.floats(0, 1))
def test_how_often_chance_does_as_well(n: int, share: float, place: float) -> None:
    successes = round(place * n)
    expected = stats.binom.sf(successes - 1, n, share)
    assert statistics.binomial_tail(successes, n, share) == pytest.approx(expected, rel=1e-6, abs=1e-12)

"""Mean, standard deviation and confidence intervals over seeds, in plain Python."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval over `n` pairs; both bounds are None without an interval."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def includes_zero(self) -> bool:
        """Whether the sign is undecided; true without an interval."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of an exact sum. Raises ValueError if there are no values."""
    if not values:
        raise ValueError("mean: takes at least one value")
    return math.fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def student_t_probability(t: float, degrees: int) -> float:
    """P(|T| <= t) for Student's t with an integer number of degrees of freedom.

    The finite sums of Abramowitz & Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine**2 * (power - 1) / power
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


@functools.cache
def student_t_quantile(degrees: int, inside: float = 0.95) -> float:
    """The t for which P(|T| <= t) is `inside`: 12.706 with 1 degree of freedom, 4.303 with 2, 1.960 in the limit.

    Raises ValueError for degrees below 1 or a probability outside (0, 1).
    """
    if degrees < 1 or not 0 < inside < 1:
        raise ValueError(f"no t quantile for {degrees} degrees of freedom and probability {inside}")
    low, high = 0.0, 1.0
    while student_t_probability(high, degrees) < inside:
        high *= 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if student_t_probability(middle, degrees) < inside else (low, middle)
    return high


def paired_interval(differences: Sequence[float]) -> Interval:
    """Mean difference with its 95 % confidence interval by Student's t, one difference per pair (here: per seed).

    Raises ValueError if there are no differences.
    """
    centre, spread, n = mean(differences), standard_deviation(differences), len(differences)
    if spread is None:
        return Interval(centre, None, None, n)
    reach = student_t_quantile(n - 1) * spread / math.sqrt(n)
    return Interval(centre, centre - reach, centre + reach, n)


@functools.cache
def binomial_tail(successes: int, n: int, share: float) -> float:
    """P(X >= successes) of n independent draws with success probability `share` in (0, 1)."""
    log_factorial, success, failure = math.lgamma(n + 1), math.log(share), math.log1p(-share)
    terms = (
        math.exp(log_factorial - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * success + (n - k) * failure)
        for k in range(max(successes, 0), n + 1)
    )
    return min(1.0, math.fsum(terms))

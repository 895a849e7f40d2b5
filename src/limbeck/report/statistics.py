"""Mean, spread and intervals over seeds: plain floats, nothing to install."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean and its 95 % interval over `n` pairs; both bounds None where n = 1 allows no interval."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def includes_zero(self) -> bool:
        """Whether nothing can be said about the sign; also where there is no interval."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, summed without rounding loss. Raises ValueError for no values."""
    if not values:
        raise ValueError("the mean of nothing")
    return math.fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def student_t_inside(t: float, degrees: int) -> float:
    """P(|T| <= t) for Student's t with a whole number of degrees of freedom.

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
    """The t for which P(|T| <= t) is `inside`: 12.706 at 1 degree of freedom, 4.303 at 2, 1.960 in the limit.

    Raises ValueError for degrees below 1 or a probability outside (0, 1).
    """
    if degrees < 1 or not 0 < inside < 1:
        raise ValueError(f"no t quantile for {degrees} degrees of freedom and probability {inside}")
    low, high = 0.0, 1.0
    while student_t_inside(high, degrees) < inside:
        high *= 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if student_t_inside(middle, degrees) < inside else (low, middle)
    return high


def paired_interval(differences: Sequence[float]) -> Interval:
    """Mean difference with its 95 % interval by Student's t, one difference a pair (here: a seed).

    Raises ValueError for no differences.
    """
    centre, spread, n = mean(differences), standard_deviation(differences), len(differences)
    if spread is None:
        return Interval(centre, None, None, n)
    reach = student_t_quantile(n - 1) * spread / math.sqrt(n)
    return Interval(centre, centre - reach, centre + reach, n)


@functools.cache
def binomial_tail(successes: int, n: int, share: float) -> float:
    """P(X >= successes) of n independent draws that each succeed with probability `share`, in (0, 1)."""
    whole, success, miss = math.lgamma(n + 1), math.log(share), math.log1p(-share)
    chances = (
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * success + (n - k) * miss)
        for k in range(max(successes, 0), n + 1)
    )
    return min(1.0, math.fsum(chances))


def format_spread(values: Sequence[float], digits: int = 2) -> str:
    """`84.61 ± 0.12 (n = 3)`; `84.61 (n = 1)` for a single value; `–` for none.

    Values that are not finite are left out of the mean, and of n.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "–"
    spread = standard_deviation(finite)
    middle = "" if spread is None else f" ± {spread:.{digits}f}"
    return f"{format_number(mean(finite), digits)}{middle} (n = {len(finite)})"


def format_interval(interval: Interval, digits: int = 2) -> str:
    """`+1.51 [+1.10, +1.92] (n = 3)`, or `+1.51 (n = 1)` without an interval."""
    centre = format_signed(interval.mean, digits)
    if interval.low is None or interval.high is None:
        return f"{centre} (n = {interval.n})"
    low, high = format_signed(interval.low, digits), format_signed(interval.high, digits)
    return f"{centre} [{low}, {high}] (n = {interval.n})"


def format_number(value: float, digits: int = 2) -> str:
    """Fixed digits with a real minus sign; never a negative zero, `–` for what is not finite."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "−")


def format_signed(value: float, digits: int = 2) -> str:
    """The same with its sign always shown, as a difference wants it."""
    text = format_number(value, digits)
    return text if text[0] in "−–" or not text.strip("0.,") else f"+{text}"

"""The accuracy of an arm as a point with an interval, and which interval that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.report.arms import Arm
from limbeck.report.comparisons import MIN_SEEDS
from limbeck.report.statistics import mean, paired_interval

OVER_SEEDS = "intervals: 95 % over seeds (Student's t)"
RANGE = "n = 2: line from one seed to the other"
OVER_IMAGES = "n = 1: 95 % over images (Wilson)"
Z = 1.959964
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Point:
    """Mean, bounds and values of each seed; all in percent or points. kind: what the bounds are, empty without any."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]
    kind: str

    @property
    def line(self) -> str | tuple[int, tuple[float, float]]:
        """The style of the interval's line: dashed over images, which says less than over seeds."""
        return (0, (2, 1.2)) if self.kind == OVER_IMAGES else "solid"


def accuracy_point(arm: Arm) -> Point | None:
    """The top-1 accuracy of an arm on the reported split, in percent; None if it was not measured."""
    values = arm.values("test", "top1", 100)
    if len(values) != 1:
        return point(values)
    images = next(learner["test"].get("n") or 0 for learner in arm.learners if learner.get("test"))
    low, high = wilson(values[0] / 100, images)
    return Point(values[0], 100 * low, 100 * high, tuple(values), OVER_IMAGES if images else "")


def point(values: Sequence[float]) -> Point | None:
    """Values of several seeds: with their 95 % interval from three on; two span a range, one stands alone."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    if len(finite) < MIN_SEEDS:
        return Point(mean(finite), min(finite), max(finite), tuple(finite), RANGE if len(finite) > 1 else "")
    found = paired_interval(finite)
    low, high = (found.mean if bound is None else bound for bound in (found.low, found.high))
    return Point(found.mean, low, high, tuple(finite), OVER_SEEDS)


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a probability that was observed as `share` in n trials (Wilson 1927). (0, 1) without any."""
    if not n:
        return 0.0, 1.0
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    reach = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, centre - reach), min(1.0, centre + reach)

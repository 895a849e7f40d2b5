"""Paired comparison of two predictors on the same images: accuracy difference and confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from limbeck.errors import LimbeckError

from . import metrics

NORMAL_QUANTILE = 1.959963984540054  # of 0.975


@dataclass(frozen=True)
class PairedDifference:
    """The paired comparison of two predictors.

    n: number of images. only_first, only_second: number of images that only this predictor classifies correctly.
    agreement: fraction of images with the same top class. low, high: 95 % interval of the accuracy difference over
    images, in [-1, 1].
    """

    n: int
    only_first: int
    only_second: int
    agreement: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Accuracy of the first minus accuracy of the second, in [-1, 1]."""
        return (self.only_first - self.only_second) / self.n


def paired_difference(first_logits: Tensor, second_logits: Tensor, labels: Tensor) -> PairedDifference:
    """Compare two sets of logits `[N, K]` for the same images with labels `[N]`; unanswered images count as wrong.

    The interval is the adjusted Wald interval of Bonett & Price 2012, "Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data". It adds one image to each kind of disagreement, so that
    its width is positive even if the predictors never differ. It covers the sampling of images, not of models: the
    same model trained with another random seed differs by more.

    Raises LimbeckError if the shapes do not match.
    """
    if first_logits.shape != second_logits.shape or len(labels) != len(first_logits) or not len(labels):
        shapes = f"{list(first_logits.shape)}, {list(second_logits.shape)} and {list(labels.shape)}"
        raise LimbeckError(f"expected two sets of logits [N, K] and labels [N], N ≥ 1; got {shapes}")
    first_right, second_right = (metrics.correct(logits, labels) for logits in (first_logits, second_logits))
    n = len(labels)
    only_first, only_second = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    agreement = metrics.agreement(first_logits, second_logits)
    return PairedDifference(n, only_first, only_second, agreement, *bonett_price(only_first, only_second, n))


def bonett_price(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy difference from counts of `n` images; see `paired_difference`."""
    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    centre = first - second
    reach = NORMAL_QUANTILE * math.sqrt((first + second - centre**2) / (n + 2))
    return max(centre - reach, -1.0), min(centre + reach, 1.0)

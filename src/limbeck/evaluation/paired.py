"""Two predictors on the same images: by how much is one right more often, and how sure is that?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from limbeck.errors import LimbeckError

from . import metrics

NORMAL_QUANTILE = 1.959963984540054  # of 0.975


@dataclass(frozen=True)
class PairedDifference:
    """Counts of images, and fractions in [-1, 1].

    n: images. only_first, only_second: those that this one alone answers right. agreement: same top class, right or
    wrong. low, high: the 95 % interval of the difference over images like these.
    """

    n: int
    only_first: int
    only_second: int
    agreement: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """The first one's accuracy minus the second one's."""
        return (self.only_first - self.only_second) / self.n


def paired_difference(first_logits: Tensor, second_logits: Tensor, labels: Tensor) -> PairedDifference:
    """Compare two answers `[N, K]` to the same images with labels `[N]`; what is not finite counts as wrong.

    The interval is the adjusted Wald one of Bonett & Price 2012, "Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data": one image is added to each way of differing, so that it has a width
    even where the two never differ. It speaks of the images drawn, not of the models: two trainings of one model with
    other seeds differ by more than it says.

    Raises LimbeckError where the shapes do not fit.
    """
    if first_logits.shape != second_logits.shape or len(labels) != len(first_logits) or not len(labels):
        shapes = f"{list(first_logits.shape)}, {list(second_logits.shape)} and {list(labels.shape)}"
        raise LimbeckError(f"two answers [N, K] to the same images [N], at least one, can be compared; got {shapes}")
    first_right, second_right = (metrics.correct(logits, labels) for logits in (first_logits, second_logits))
    n = len(labels)
    only_first, only_second = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    agreement = metrics.agreement(first_logits, second_logits)
    return PairedDifference(n, only_first, only_second, agreement, *bonett_price(only_first, only_second, n))


def bonett_price(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """The 95 % interval of the difference of accuracies from its counts of `n` images: see `paired_difference`."""
    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    centre = first - second
    reach = NORMAL_QUANTILE * math.sqrt((first + second - centre**2) / (n + 2))
    return max(centre - reach, -1.0), min(centre + reach, 1.0)

"""Learning rates as pure functions of the step: nothing to save, nothing to restore wrongly.

Each function returns a `Schedule`: (step from 0, steps per epoch, epochs of the whole training) to the factor
by which the base rate is multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int, int, int], float]


def constant() -> Schedule:
    """The base rate throughout."""
    return lambda step, steps_per_epoch, epochs: 1.0


def step(*, every_epochs: int, factor: float) -> Schedule:
    """Multiply by `factor` after every `every_epochs` epochs."""
    return lambda step, steps_per_epoch, epochs: factor ** (step // steps_per_epoch // every_epochs)


def multi_step(*, milestones: Sequence[int], factor: float) -> Schedule:
    """Multiply by `factor` at the start of each epoch named, counted from 0."""
    return lambda step, steps_per_epoch, epochs: factor ** sum(step // steps_per_epoch >= m for m in milestones)


def cosine(*, warmup_epochs: float = 0.0, final_fraction: float = 0.0, per_epoch: bool = False) -> Schedule:
    """Linear warm-up, then half a cosine (Loshchilov & Hutter 2017) down to `final_fraction`.

    Step s of a warm-up of w steps has the factor (s + 1) / w. With `per_epoch` the rate changes once an
    epoch, as many published recipes do it: (epoch + 1) / warm-up, then the cosine of the epochs that remain.
    """

    def factor(step: int, steps_per_epoch: int, epochs: int) -> float:
        at, one = (step // steps_per_epoch, 1.0) if per_epoch else (step / steps_per_epoch, 1 / steps_per_epoch)
        if at < warmup_epochs:
            return min(1.0, (at + one) / warmup_epochs)
        progress = min(1.0, (at - warmup_epochs) / max(epochs - warmup_epochs, one))
        return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def one_cycle(*, peak: float = 0.25, start_fraction: float = 0.0, final_fraction: float = 0.0) -> Schedule:
    """Straight up from `start_fraction` to the base rate at `peak` of the training, straight down after it.

    The triangle of Smith & Topin 2018, "Super-Convergence", without the cycle of the momentum.
    """

    def factor(step: int, steps_per_epoch: int, epochs: int) -> float:
        progress = (step + 1) / (steps_per_epoch * epochs)
        if progress < peak:
            return start_fraction + (1 - start_fraction) * progress / peak
        return final_fraction + (1 - final_fraction) * max(0.0, 1 - progress) / (1 - peak)

    return factor

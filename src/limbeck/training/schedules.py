"""Learning rates as a pure function of the step, without any state to save or restore."""

from __future__ import annotations

import math

from limbeck.recipes.optimization import Constant, Cosine, MultiStep, Schedule, Step


def rate_factor(schedule: Schedule, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The factor of the base learning rate at `step`, counted from 0, of a training of `epochs`.

    Cosine: step s of a warm-up of w steps has the factor (s + 1) / w; then half a cosine (Loshchilov & Hutter 2017)
    falls to `final_fraction`. With `per_epoch` the rate changes once an epoch, as in many published recipes: first
    (epoch + 1) / warm-up, then a cosine over the remaining epochs. One cycle: the triangle of Smith & Topin 2018,
    "Super-Convergence", without its momentum cycle.
    """
    epoch = step // steps_per_epoch
    if isinstance(schedule, Constant):
        return 1.0
    if isinstance(schedule, Step):
        return schedule.factor ** (epoch // schedule.every_epochs)
    if isinstance(schedule, MultiStep):
        return schedule.factor ** sum(epoch >= milestone for milestone in schedule.milestones)
    final = schedule.final_fraction
    if isinstance(schedule, Cosine):
        warmup = schedule.warmup_epochs
        at, one = (epoch, 1.0) if schedule.per_epoch else (step / steps_per_epoch, 1 / steps_per_epoch)
        if at < warmup:
            return min(1.0, (at + one) / warmup)
        progress = min(1.0, (at - warmup) / max(epochs - warmup, one))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
    progress = (step + 1) / (steps_per_epoch * epochs)
    if progress < schedule.peak:
        return schedule.start_fraction + (1 - schedule.start_fraction) * progress / schedule.peak
    return final + (1 - final) * max(0.0, 1 - progress) / (1 - schedule.peak)

"""The optimizers and schedules of a recipe. Keys are the parameters of the functions that they name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .recipe_values import BelowOne, Count, Flag, Fraction, NotNegative, Number, Part, Positive


class Sgd(Part):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    lr: Positive
    momentum: BelowOne = 0.9
    nesterov: Flag = True
    weight_decay: NotNegative = 0.0


class Adam(Part):
    """Adam."""

    name: Literal["adam"]
    lr: Positive
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    weight_decay: NotNegative = 0.0


class AdamW(Part):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"]
    lr: Positive
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    weight_decay: NotNegative = 0.01


class Muon(Part):
    """Orthogonalised momentum for matrices and convolutions, AdamW for the rest."""

    name: Literal["muon"]
    lr: Positive
    momentum: BelowOne = 0.95
    weight_decay: NotNegative = 0.0
    adam_lr: Positive = 0.004


class Constant(Part):
    """The base rate throughout."""

    name: Literal["constant"] = "constant"


class Step(Part):
    """Multiply the rate after every few epochs."""

    name: Literal["step"]
    every_epochs: Count
    factor: Positive


class MultiStep(Part):
    """Multiply the rate at the start of the epochs named."""

    name: Literal["multi_step"]
    milestones: Annotated[tuple[Count, ...], Field(min_length=1)]
    factor: Positive


class Cosine(Part):
    """Linear warm-up, then half a cosine."""

    name: Literal["cosine"]
    warmup_epochs: NotNegative = 0.0
    final_fraction: Fraction = 0.0
    per_epoch: Flag = False


class OneCycle(Part):
    """Straight up to the peak, straight down."""

    name: Literal["one_cycle"]
    peak: Annotated[Number, Field(gt=0, lt=1)] = 0.25
    start_fraction: Fraction = 0.0
    final_fraction: Fraction = 0.0


Optimizer = Annotated[Sgd | Adam | AdamW | Muon, Field(discriminator="name")]
Schedule = Annotated[Constant | Step | MultiStep | Cosine | OneCycle, Field(discriminator="name")]

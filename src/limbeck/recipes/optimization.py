"""The options of optimizers and learning-rate schedules."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .fields import BelowOne, Count, ExtendedPart, Flag, Fraction, NotNegative, Number, Positive, RecipePart


class ParameterOptions(ExtendedPart):
    """Which parameters have their own learning rate or no weight decay."""

    added_later: ClassVar[frozenset[str]] = frozenset({"layer_decay", "no_weight_decay"})

    layer_decay: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Factor of the learning rate for each layer towards the input, as in 0.75 (default: one rate for all layers).
    Layers are told by parameter names: `layer2.0.conv1.weight` belongs to layer `layer2.0`."""
    no_weight_decay: tuple[str, ...] = ()
    """Parameters without weight decay, by name or pattern, as in ["*.pos_embed"]."""


class WeightDecayOptions(ParameterOptions):
    """The same, where norms and biases have weight decay by default."""

    added_later: ClassVar[frozenset[str]] = frozenset({"decay_norms_and_biases"})

    decay_norms_and_biases: Flag = True
    """Whether weight decay includes norms, biases and other parameters of one dimension, and those that the model's
    own `no_weight_decay()` names."""


class Sgd(WeightDecayOptions):
    """Stochastic gradient descent."""

    buffers_per_parameter: ClassVar[int] = 1

    name: Literal["sgd"] = "sgd"
    """Stochastic gradient descent."""
    lr: Positive
    """The learning rate."""
    momentum: BelowOne = 0.9
    """Share of the last step that is kept."""
    nesterov: Flag = True
    """Whether the gradient is taken ahead, as Nesterov's momentum does."""
    weight_decay: NotNegative = 0.0
    """Factor of the weights that is added to the gradient."""


class Adam(WeightDecayOptions):
    """Adam."""

    buffers_per_parameter: ClassVar[int] = 2

    name: Literal["adam"] = "adam"
    """Adam, with weight decay in the gradient."""
    lr: Positive
    """The learning rate."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    weight_decay: NotNegative = 0.0
    """Factor of the weights that is added to the gradient."""


class AdamW(WeightDecayOptions):
    """Adam with decoupled weight decay."""

    buffers_per_parameter: ClassVar[int] = 2

    name: Literal["adamw"] = "adamw"
    """Adam with decoupled weight decay."""
    lr: Positive
    """The learning rate."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    weight_decay: NotNegative = 0.01
    """Share of the weights that each step takes off, times the learning rate."""


class Muon(ParameterOptions):
    """Orthogonalised momentum for matrices and convolutions, AdamW for the rest."""

    buffers_per_parameter: ClassVar[int] = 2

    name: Literal["muon"] = "muon"
    """Orthogonalised momentum for matrices and convolutions, AdamW for all else."""
    lr: Positive
    """The learning rate of matrices and convolutions."""
    momentum: BelowOne = 0.95
    """Share of the last step that is kept."""
    weight_decay: NotNegative = 0.0
    """Share of the weights that each step takes off, times the learning rate."""
    adam_lr: Positive = 0.004
    """The learning rate of all other parameters."""


class Constant(RecipePart):
    """The base rate throughout."""

    name: Literal["constant"] = "constant"
    """The learning rate stays as it is."""


class Step(RecipePart):
    """Multiply the rate after every few epochs."""

    name: Literal["step"] = "step"
    """The learning rate is multiplied after every few epochs."""
    every_epochs: Count
    """After how many epochs it is multiplied."""
    factor: Positive
    """By what it is multiplied, as in 0.1."""


class MultiStep(RecipePart):
    """Multiply the rate at the start of the epochs named."""

    name: Literal["multi_step"] = "multi_step"
    """The learning rate is multiplied at the start of certain epochs."""
    milestones: Annotated[tuple[Count, ...], Field(min_length=1)]
    """The epochs at whose start it is multiplied."""
    factor: Positive
    """By what it is multiplied, as in 0.1."""


class Cosine(RecipePart):
    """Linear warm-up, then half a cosine."""

    name: Literal["cosine"] = "cosine"
    """The learning rate rises in a straight line, then falls along half a cosine."""
    warmup_epochs: NotNegative = 0.0
    """Over how many epochs it rises."""
    final_fraction: Fraction = 0.0
    """The share of the learning rate that is left at the end."""
    per_epoch: Flag = False
    """Change it once an epoch instead of at every step."""


class OneCycle(RecipePart):
    """Straight up to the peak, straight down."""

    name: Literal["one_cycle"] = "one_cycle"
    """The learning rate rises to its peak and falls again, both in a straight line."""
    peak: Annotated[Number, Field(gt=0, lt=1)] = 0.25
    """The share of training after which the peak is reached."""
    start_fraction: Fraction = 0.0
    """The share of the learning rate to begin with."""
    final_fraction: Fraction = 0.0
    """The share of the learning rate that is left at the end."""


Optimizer = Annotated[Sgd | Adam | AdamW | Muon, Field(discriminator="name")]
Schedule = Annotated[Constant | Step | MultiStep | Cosine | OneCycle, Field(discriminator="name")]

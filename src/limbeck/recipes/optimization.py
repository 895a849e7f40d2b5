"""The options of optimizers and learning-rate schedules."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .fields import BelowOne, Count, ExtendedPart, Flag, Fraction, NotNegative, Number, Positive, RecipePart


class ParameterOptions(ExtendedPart):
    """Learning rates by layer, and parameters without weight decay."""

    added_later: ClassVar[frozenset[str]] = frozenset({"layer_decay", "no_weight_decay"})

    layer_decay: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Factor on the learning rate for each layer towards the input, such as 0.75 (default: one rate for all layers).
    Layers follow from parameter names: `layer2.0.conv1.weight` belongs to layer `layer2.0`."""
    no_weight_decay: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Parameters without weight decay, by name or pattern, such as ["*.pos_embed"]."""


class WeightDecayOptions(ParameterOptions):
    """Parameter options of optimizers whose weight decay includes normalisation layers and biases by default."""

    added_later: ClassVar[frozenset[str]] = frozenset({"decay_norms_and_biases"})

    decay_norms_and_biases: Flag = True
    """Whether weight decay applies to normalisation layers, biases and other one-dimensional parameters, and to those
    that the model lists in `no_weight_decay()`."""


class Sgd(WeightDecayOptions):
    """Stochastic gradient descent."""

    buffers_per_parameter: ClassVar[int] = 1

    name: Literal["sgd"] = "sgd"
    """Stochastic gradient descent."""
    lr: Positive
    """The learning rate."""
    momentum: BelowOne = 0.9
    """Momentum coefficient."""
    nesterov: Flag = True
    """Whether to use Nesterov momentum."""
    weight_decay: NotNegative = 0.0
    """Weight decay (L2 penalty), added to the gradient."""


class Adam(WeightDecayOptions):
    """Adam."""

    buffers_per_parameter: ClassVar[int] = 2

    name: Literal["adam"] = "adam"
    """Adam, with weight decay in the gradient."""
    lr: Positive
    """The learning rate."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """Decay of the running averages of the gradient and its square."""
    weight_decay: NotNegative = 0.0
    """Weight decay (L2 penalty), added to the gradient."""


class AdamW(WeightDecayOptions):
    """Adam with decoupled weight decay."""

    buffers_per_parameter: ClassVar[int] = 2

    name: Literal["adamw"] = "adamw"
    """Adam with decoupled weight decay."""
    lr: Positive
    """The learning rate."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """Decay of the running averages of the gradient and its square."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay: each step subtracts this fraction of the weights, times the learning rate."""


class Muon(ParameterOptions):
    """Muon: orthogonalised momentum for matrices and convolutions, AdamW for all other parameters."""

    buffers_per_parameter: ClassVar[int] = 2

    name: Literal["muon"] = "muon"
    """Orthogonalised momentum for matrices and convolutions, AdamW for all other parameters."""
    lr: Positive
    """The learning rate of matrices and convolutions."""
    momentum: BelowOne = 0.95
    """Momentum coefficient."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay: each step subtracts this fraction of the weights, times the learning rate."""
    adam_lr: Positive = 0.004
    """The learning rate of all other parameters."""


class Constant(RecipePart):
    """Constant learning rate."""

    name: Literal["constant"] = "constant"
    """The learning rate is constant."""


class Step(RecipePart):
    """Multiply the learning rate by a factor at regular intervals."""

    name: Literal["step"] = "step"
    """The learning rate is multiplied by a factor at regular intervals."""
    every_epochs: Count
    """Number of epochs between changes."""
    factor: Positive
    """The factor, such as 0.1."""


class MultiStep(RecipePart):
    """Multiply the learning rate by a factor at the start of given epochs."""

    name: Literal["multi_step"] = "multi_step"
    """The learning rate is multiplied by a factor at the start of given epochs."""
    milestones: Annotated[tuple[Count, ...], Field(min_length=1)]
    """The epochs at whose start the learning rate changes."""
    factor: Positive
    """The factor, such as 0.1."""


class Cosine(RecipePart):
    """Linear warm-up, then cosine decay."""

    name: Literal["cosine"] = "cosine"
    """Linear warm-up of the learning rate, then cosine decay."""
    warmup_epochs: NotNegative = 0.0
    """Number of warm-up epochs."""
    final_fraction: Fraction = 0.0
    """Final learning rate, as a fraction of `lr`."""
    per_epoch: Flag = False
    """Change the learning rate once per epoch instead of at every step."""


class OneCycle(RecipePart):
    """Linear rise to the peak, then linear fall."""

    name: Literal["one_cycle"] = "one_cycle"
    """The learning rate rises linearly to its peak, then falls linearly."""
    peak: Annotated[Number, Field(gt=0, lt=1)] = 0.25
    """Position of the peak, as a fraction of the training steps."""
    start_fraction: Fraction = 0.0
    """Initial learning rate, as a fraction of `lr`."""
    final_fraction: Fraction = 0.0
    """Final learning rate, as a fraction of `lr`."""


Optimizer = Annotated[Sgd | Adam | AdamW | Muon, Field(discriminator="name")]
Schedule = Annotated[Constant | Step | MultiStep | Cosine | OneCycle, Field(discriminator="name")]

"""The typed recipe: immutable sections with a description, a default and a range for every key.

What one section alone decides is checked here. `checks/` checks the rest without importing anything heavy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from limbeck.errors import nearest

from .budget import Budget
from .fields import (
    ArmName,
    Count,
    ExtendedPart,
    Flag,
    FolderName,
    Model,
    NameWithOptions,
    NotNegative,
    Number,
    Positive,
    RecipePart,
    Seed,
    shortened,
)
from .optimization import Constant, Optimizer, Schedule
from .sweep import Sweep
from .test_time import AveragedViews
from .views import Views

Precision = Literal["auto", "bf16", "fp16", "fp32"]
CustomFunctions = Mapping[str, Callable[..., Any]]
"""Losses or models that a caller from Python provides, by name."""


class Data(BaseModel):
    """The images. Further keys are options of the source."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)
    source: str
    """Data source: cifar10, cifar100, tinyimagenet, digits, folder:PATH or parquet:PATH."""
    validation: Annotated[Number, Field(ge=0, lt=0.5)] = 0.1
    """Fraction of the training images held out for validation, on which every choice is made. If the source has its
    own validation split, that is used instead, and 0 is allowed."""
    train_images: Count | None = None
    """Train on about this many images, drawn from each class in proportion (default: all)."""

    @property
    def options(self) -> dict[str, Any]:
        """The options of the source."""
        return dict(self.model_extra or {})


class LossTerm(NameWithOptions):
    """One term of the weighted sum of losses."""

    weight: NotNegative = 1.0
    """Weight of this loss in the sum."""
    warmup_epochs: NotNegative = 0.0
    """Number of epochs over which the weight grows linearly from 0 to `weight`."""


class WeightedTeacher(ExtendedPart):
    """One of several teachers, and its weight."""

    added_later: ClassVar[frozenset[str]] = frozenset({"epoch"})

    name: str
    """Name of the arm that teaches."""
    weight: Positive = 1.0
    """Relative weight of this teacher's outputs among all teachers of the arm."""
    epoch: Count | None = None
    """Teach with the weights after this epoch, one of the teacher's `snapshots` (default: its final weights)."""


def _as_teachers(value: object) -> object:
    if value is None:
        return []
    if isinstance(value, str):
        return [{"name": value}]
    return [{"name": v} if isinstance(v, str) else v for v in value] if isinstance(value, list | tuple) else value


Teachers = Annotated[
    tuple[WeightedTeacher, ...],
    BeforeValidator(_as_teachers, json_schema_input_type=str | list[str | WeightedTeacher] | None),
]


class ChannelStatistics(RecipePart):
    """Mean and standard deviation of each channel, for pixels scaled to [0, 1]."""

    mean: tuple[Number, Number, Number]
    """Mean of each channel, for pixels scaled to [0, 1]."""
    sd: tuple[Positive, Positive, Positive]
    """Standard deviation of each channel, for pixels scaled to [0, 1]."""


class WeightAverage(RecipePart):
    """Exponential moving average of the weights."""

    decay: Annotated[Number, Field(gt=0, lt=1)]
    """Decay of the average per step, such as 0.999."""


class ModelOptions(ExtendedPart):
    """The model of an arm: its architecture, its initial weights and its input."""

    model: Model
    """Name of the model, or a mapping with its `name` and options (see `limbeck list models`)."""
    weights: str | None = None
    """Safetensors file with the initial weights. A teacher with `weights` and without `loss` is not trained."""
    classes: tuple[str, ...] | None = None
    """Class names in the output order of the model in `weights` (default: the order of the data)."""
    outputs: Literal["logits", "probabilities"] = "logits"
    """What a model loaded from a file returns. For probabilities, their logarithm is used as logits."""
    allow_near_chance: Flag = False
    """Accept a model loaded from a file even if its accuracy is close to chance."""
    normalise: ChannelStatistics | None = None
    """Mean and standard deviation that the model expects (default: those of the data)."""
    resolution: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = None
    """Side length of the model's input in pixels, to which views are resized (default: that of the images)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How views are resized to `resolution`, always with antialiasing."""


class TrainingOptions(ExtendedPart):
    """How a model is trained: in an arm of a recipe, or by `limbeck.distill`."""

    epochs: Count | None = None
    """Number of passes over the training images."""
    optimizer: Optimizer | None = None
    """The optimizer and its options."""
    schedule: Schedule = Constant()
    """How the learning rate changes during training."""
    loss: tuple[LossTerm, ...] = ()
    """The losses whose weighted sum is minimised."""
    teacher: Teachers = ()
    """Name of the arm that teaches this one, or a list of several."""
    clip_norm: Positive | None = None
    """Maximum norm of the gradients; larger gradients are scaled down to it (default: no limit)."""
    ema: WeightAverage | None = None
    """Evaluate and save an exponential moving average of the weights (default: the last weights)."""
    patience: Count | None = None
    """Stop after this many epochs without a lower validation loss (default: never)."""
    choose: Literal["last", "best"] = "last"
    """Whether to save the weights of the last epoch, or of the epoch with the best validation accuracy."""


class Arm(TrainingOptions, ModelOptions):  # in a dump, the keys of ModelOptions come first
    """One model and how it is trained. Training starts from `weights`, if given. A teacher with `weights` and without
    `loss` is not trained.
    """

    added_later: ClassVar[frozenset[str]] = frozenset({"quantise", "ensemble", "snapshots"})

    precision: Precision | None = None
    """Numerical precision of training (default: that of the recipe)."""
    quantise: Literal["int8"] | None = None
    """Train the student for int8: its weights and activations are rounded to 8 bits while it learns, in float32, and
    `limbeck export --to onnx-int8` uses the scales that it learned (default: no rounding)."""
    views: Views | None = None
    """How this arm's views differ from the recipe's. Arms with different views are trained separately."""
    seed: Seed | None = None
    """Random seed of the arm's initial weights and dropout, combined with the run's seeds (default: students of one
    run seed share theirs, each trained teacher has its own)."""
    baseline: str | None = None
    """The student to compare this one with (default: the student named `baseline`)."""
    ensemble: Literal["fixed", "confidence", "entropy", "learned"] = "fixed"
    """How several teachers are weighed. `fixed`: by their weights. `confidence`, `entropy`: for each image, also by
    their probability of the label, or by their certainty. `learned`: by weights trained to predict the labels."""
    snapshots: tuple[Count, ...] = ()
    """Epochs after which the weights are saved too, for students that this arm teaches (see `teacher`)."""

    @property
    def trained(self) -> bool:
        """Whether this arm is trained here; a pretrained teacher is not."""
        return bool(self.loss)


class Evaluation(ExtendedPart):
    """How models are evaluated."""

    added_later: ClassVar[frozenset[str]] = frozenset({"test_time"})

    test: Flag = True
    """Whether to evaluate on the test split at the end. Set to false in trials among which one will be chosen."""
    batch_size: Count = 250
    """Number of images per batch during evaluation."""
    latency_batch: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = 128
    """Number of images in the batch that is timed; 0 skips the latency measurement."""
    test_time: AveragedViews | None = None
    """Also evaluate every model with test-time augmentation. Its gain and its cost are reported beside the model's own
    accuracy, which does not change."""


class OutputsBank(RecipePart):
    """Teacher logits are cached as float16 and reused by later runs with the same views."""

    limit_gb: Positive = 10.0
    """Maximum size of a run's cached teacher logits, in GB of 2^30 bytes."""


class Recipe(ExtendedPart):
    """A recipe of Limbeck: everything that determines a run."""

    added_later: ClassVar[frozenset[str]] = frozenset({"budget"})

    name: FolderName
    """Name of the recipe, and of its run directory."""
    seeds: tuple[Seed, ...] = (0,)
    """Random seeds. Every student is trained once per seed; results are means and standard deviations."""
    teacher_seed: Seed | None = None
    """Train teachers once, with this seed, for the students of all seeds (default: once per seed)."""
    device: str = "auto"
    """Where to train: auto, cpu, cuda, cuda:0 (or another number) or mps."""
    precision: Precision = "auto"
    """Numerical precision of training; auto selects bf16 where the hardware supports it."""
    threads: Count | None = None
    """Number of CPU threads (default: chosen by PyTorch)."""
    save_every_seconds: NotNegative = 60.0
    """Seconds between checkpoints, and so the most work that a killed run loses."""
    keep_checkpoints: Annotated[int, Field(ge=1, le=1000, strict=True)] = 2
    """Number of checkpoints retained during training."""
    data: Data
    """The images."""
    views: Views = Views()
    """How training images are augmented, the same for teachers and students."""
    outputs_bank: OutputsBank | None = None
    """Cache the teacher logits for later runs with the same views (default: no)."""
    teachers: dict[ArmName, Arm] = Field(default={})
    """The teachers, by name; `defaults` holds the keys that they share."""
    students: dict[ArmName, Arm]
    """The students, by name; `defaults` holds the keys that they share."""
    evaluation: Evaluation = Evaluation()
    """How models are evaluated at the end."""
    budget: Budget | None = None
    """What each student may cost on this device (default: no limits)."""
    sweep: Sweep | None = None
    """The settings that `limbeck sweep` tries."""

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"expected one or more different seeds, such as [0, 1, 2]; got {shortened(list(value))}")
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", value):
            hint = "".join(f"; did you mean {word!r}?" for word in nearest(value, ("auto", "cpu", "cuda", "mps")))
            raise ValueError(
                f"expected auto, cpu, cuda, cuda:0 (or another number) or mps; got {shortened(value)}{hint}"
            )
        return value

    def arms(self) -> dict[str, Arm]:
        """Teachers, then students, by name."""
        return {**self.teachers, **self.students}

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data, with all defaults filled in."""
        return self.model_dump(mode="json")

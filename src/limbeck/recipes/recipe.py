"""A recipe, typed: frozen models that forbid unknown keys.

What can be said about a recipe without loading anything heavy is checked here, names and options included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from limbeck.errors import did_you_mean

from .fields import (
    ArmName,
    Count,
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
from .views import Views

Precision = Literal["auto", "bf16", "fp16", "fp32"]
CustomFunctions = Mapping[str, Callable[..., Any]]


class Data(BaseModel):
    """Which images. Further keys are options of the source."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)
    source: str
    """Which images: cifar10, cifar100, tinyimagenet, digits, folder:PATH or parquet:PATH."""
    validation: Annotated[Number, Field(ge=0, lt=0.5)] = 0.1
    """Share of the training images that is held out; every choice is made on it. A source's own validation split is
    taken instead (and 0 is allowed then)."""
    train_images: Count | None = None
    """Train on about that many images, as many of each class in proportion (default: all)."""

    @property
    def options(self) -> dict[str, Any]:
        """The options of the source."""
        return dict(self.model_extra or {})


class LossTerm(NameWithOptions):
    """One loss of the weighted sum."""

    weight: NotNegative = 1.0
    """What the loss counts in the sum."""
    warmup_epochs: NotNegative = 0.0
    """Over so many epochs its weight grows from 0 to `weight` in a straight line."""


class WeightedTeacher(RecipePart):
    """One teacher of several and how much it counts."""

    name: str
    """Name of the arm that teaches."""
    weight: Positive = 1.0
    """What its answer counts beside those of the other teachers."""


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
    """Mean and standard deviation per channel, of pixels scaled to [0, 1]."""

    mean: tuple[Number, Number, Number]
    """Mean of each channel, of pixels scaled to [0, 1]."""
    sd: tuple[Positive, Positive, Positive]
    """Standard deviation of each channel, of pixels scaled to [0, 1]."""


class WeightAverage(RecipePart):
    """Exponential moving average of the weights."""

    decay: Annotated[Number, Field(gt=0, lt=1)]
    """Share of the average that each step keeps, as in 0.999."""


class Arm(RecipePart):
    """One model and how it is trained. Training starts from `weights`, if given; a teacher with `weights` and without
    `loss` is not trained.
    """

    model: Model
    """Name of the model, or a mapping with its `name` and options (`limbeck list models`)."""
    weights: str | None = None
    """A safetensors file to start from; a teacher with `weights` and without `loss` is not trained."""
    classes: tuple[str, ...] | None = None
    """Class names in the order of the outputs of the model from `weights` (default: the data's order)."""
    outputs: Literal["logits", "probabilities"] = "logits"
    """What a model from a file answers with; of probabilities the logarithm is taken."""
    allow_near_chance: Flag = False
    """Use a model from a file even if it is hardly ever right."""
    normalise: ChannelStatistics | None = None
    """The mean and standard deviation that the model expects (default: the data's)."""
    resolution: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = None
    """Side of the model's input in pixels, to which views are resized (default: the images' own)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How views are resized to `resolution`, antialiased."""
    epochs: Count | None = None
    """How many times the training images are gone through."""
    optimizer: Optimizer | None = None
    """The optimizer and its options."""
    schedule: Schedule = Constant()
    """How the learning rate changes over training."""
    loss: tuple[LossTerm, ...] = ()
    """The losses whose weighted sum is minimised."""
    teacher: Teachers = ()
    """Name of the arm that teaches this one, or a list of several."""
    clip_norm: Positive | None = None
    """Largest norm of the gradients; longer ones are scaled down to it (default: no limit)."""
    ema: WeightAverage | None = None
    """Use an exponential moving average of the weights instead of the last ones (default: no)."""
    patience: Count | None = None
    """Stop after so many epochs without a better validation loss (default: train to the end)."""
    choose: Literal["last", "best"] = "last"
    """Keep the weights of the last epoch, or those of the best on validation."""
    precision: Precision | None = None
    """Precision of the arithmetic (default: the recipe's)."""
    views: Views | None = None
    """Where this arm's views differ from the recipe's; arms that see different views are taught apart."""
    seed: Seed | None = None
    """Seed of the arm's own random numbers, its first weights and dropout, beside the run's seeds (default: students
    of one run seed share theirs, each trained teacher has its own)."""
    baseline: str | None = None
    """The student to compare with (default: the one called `baseline`)."""

    @property
    def trained(self) -> bool:
        """Whether this arm is trained here (a ready teacher is not)."""
        return bool(self.loss)


class Evaluation(RecipePart):
    """How models are measured."""

    test: Flag = True
    """Whether the test split is read at the end; leave it unread in trials of which one will be chosen."""
    batch_size: Count = 250
    """Images in a batch when models are measured."""
    latency_batch: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = 128
    """Images in the batch that is timed; 0 measures no latency."""


class OutputsBank(RecipePart):
    """Teachers' answers are kept in the cache, as float16, and read by later runs that see the same views."""

    limit_gb: Positive = 10.0
    """What the stored answers of a run may take in all, in GB of 2^30 bytes."""


class Recipe(RecipePart):
    """Everything that decides a run."""

    name: FolderName
    """Name of the recipe, and of the folder of its runs."""
    seeds: tuple[Seed, ...] = (0,)
    """The seeds with which every student is trained; results are their mean and standard deviation."""
    teacher_seed: Seed | None = None
    """Train teachers with this seed alone, for the students of all seeds (default: each seed its own teachers)."""
    device: str = "auto"
    """Where to train: auto, cpu, cuda, cuda:0 (or another number) or mps."""
    precision: Precision = "auto"
    """Precision of the arithmetic; auto takes bf16 where the hardware has it."""
    threads: Count | None = None
    """CPU threads to compute with (default: torch's choice)."""
    save_every_seconds: NotNegative = 60.0
    """Time between checkpoints, in seconds: so much work a kill may cost."""
    keep_checkpoints: Annotated[int, Field(ge=1, le=1000, strict=True)] = 2
    """How many checkpoints are kept of what is being trained."""
    data: Data
    """The images."""
    views: Views = Views()
    """How training images are augmented, the same for teachers and students."""
    outputs_bank: OutputsBank | None = None
    """Keep the teachers' answers for later runs that see the same views (default: no)."""
    teachers: dict[ArmName, Arm] = Field(default_factory=dict)
    """The models that teach, by name; `defaults` holds what they share."""
    students: dict[ArmName, Arm]
    """The models that learn, by name; `defaults` holds what they share."""
    evaluation: Evaluation = Evaluation()
    """How models are measured at the end."""
    sweep: Sweep | None = None
    """Settings to try, for `limbeck sweep`."""

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"takes at least one seed, each once, as in [0, 1, 2]; got {shortened(list(value))}")
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", value):
            near = did_you_mean(value, ("auto", "cpu", "cuda", "mps"))
            near = near if "did you mean" in near else ""
            raise ValueError(f"takes auto, cpu, cuda, cuda:0 (or another number) or mps; got {shortened(value)}{near}")
        return value

    def arms(self) -> dict[str, Arm]:
        """Teachers, then students, by name."""
        return {**self.teachers, **self.students}

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every default filled in."""
        return self.model_dump(mode="json")

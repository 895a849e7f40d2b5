"""A recipe, typed: frozen models that forbid unknown keys.

What can be said about a recipe without loading anything heavy is checked here, names and options included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from .errors import did_you_mean
from .recipe_sweep import Sweep
from .recipe_training import Constant, Optimizer, Schedule
from .recipe_values import (
    ArmName,
    Count,
    Flag,
    FolderName,
    Model,
    Named,
    NotNegative,
    Number,
    Part,
    Positive,
    Seed,
    shortened,
)
from .recipe_views import Views

Precision = Literal["auto", "bf16", "fp16", "fp32"]
Functions = Mapping[str, Callable[..., Any]]


class Data(BaseModel):
    """Which images. Further keys are options of the source."""

    model_config = ConfigDict(extra="allow", frozen=True)
    source: str
    validation: Annotated[Number, Field(gt=0, lt=0.5)] = 0.1
    train_images: Count | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options of the source."""
        return dict(self.model_extra or {})


class LossTerm(Named):
    """One loss of the weighted sum. warmup_epochs: its weight grows to `weight` in a straight line over so many."""

    weight: NotNegative = 1.0
    warmup_epochs: NotNegative = 0.0


class Voice(Part):
    """One teacher of several and how much it counts."""

    name: str
    weight: Positive = 1.0


def _as_voices(value: object) -> object:
    if value is None:
        return []
    if isinstance(value, str):
        return [{"name": value}]
    return [{"name": v} if isinstance(v, str) else v for v in value] if isinstance(value, list | tuple) else value


Voices = Annotated[
    tuple[Voice, ...],
    BeforeValidator(_as_voices, json_schema_input_type=str | list[str | Voice] | None),
]


class NormalisationOf(Part):
    """Mean and standard deviation per channel, of pixels scaled to [0, 1]."""

    mean: tuple[Number, Number, Number]
    sd: tuple[Positive, Positive, Positive]


class WeightAverage(Part):
    """Exponential moving average of the weights."""

    decay: Annotated[Number, Field(gt=0, lt=1)]


class Arm(Part):
    """One model and how it is trained. Training starts from `weights`, if given; a teacher with `weights` and without
    `loss` is not trained.

    classes: the class names in the order of the file's outputs. outputs: what a model from a file answers with;
    of probabilities the logarithm is taken. allow_near_chance: a model from a file is used even if it is hardly ever
    right. resolution: side of the model's input, to which
    the view is resized (interpolation says how; antialiased).
    views: what differs from the run's views; arms that see different views are taught apart.
    seed: of the arm's own random numbers (first weights, dropout), beside the run's seeds, which go on telling its
    runs apart. Without one, students of a run's seed share their random numbers, so that equal models start equal,
    and each trained teacher has its own. Views are not touched; they have `views.seed`.
    baseline: the arm to compare with (the arm called `baseline` unless said otherwise).
    """

    model: Model
    weights: str | None = None
    classes: tuple[str, ...] | None = None
    outputs: Literal["logits", "probabilities"] = "logits"
    allow_near_chance: Flag = False
    normalise: NormalisationOf | None = None
    resolution: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    epochs: Count | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule = Constant()
    loss: tuple[LossTerm, ...] = ()
    teacher: Voices = ()
    clip_norm: Positive | None = None
    ema: WeightAverage | None = None
    patience: Count | None = None
    choose: Literal["last", "best"] = "last"
    precision: Precision | None = None
    views: Views | None = None
    seed: Seed | None = None
    baseline: str | None = None

    @property
    def trained(self) -> bool:
        """Whether this arm is trained here (a ready teacher is not)."""
        return bool(self.loss)


class Evaluation(Part):
    """How models are measured.

    latency_batch: images in the batch that is timed (0: no timing at all). test: False leaves the test split
    unread, for trials of which one will be chosen.
    """

    test: Flag = True
    batch_size: Count = 250
    latency_batch: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = 128


class OutputsBank(Part):
    """Teachers' answers are kept in the cache, as float16, and read by later runs that see the same views.

    limit_gb: what the banks of a run may take together, in GB of 2^30 bytes.
    """

    limit_gb: Positive = 10.0


class Recipe(Part):
    """Everything that decides a run.

    save_every_seconds: how much work a kill may cost. keep_checkpoints: how many of a cohort are kept; each also
    holds the best weights so far of arms that choose them. sweep: settings to try (`limbeck sweep`).
    """

    name: FolderName
    seeds: tuple[Seed, ...] = (0,)
    teacher_seed: Seed | None = None
    device: str = "auto"
    precision: Precision = "auto"
    threads: Count | None = None
    save_every_seconds: NotNegative = 60.0
    keep_checkpoints: Annotated[int, Field(ge=1, le=1000, strict=True)] = 2
    data: Data
    views: Views = Views()
    outputs_bank: OutputsBank | None = None
    teachers: dict[ArmName, Arm] = Field(default_factory=dict)
    students: dict[ArmName, Arm]
    evaluation: Evaluation = Evaluation()
    sweep: Sweep | None = None

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


def json_schema() -> dict[str, Any]:
    """The JSON Schema of recipes, for editors."""
    schema = Recipe.model_json_schema()
    schema["$defs"]["Arm"].pop("required")  # `defaults` may give what an arm leaves out
    return schema

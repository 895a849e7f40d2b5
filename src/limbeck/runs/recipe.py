"""A recipe, typed: frozen models that forbid unknown keys.

What can be said about a recipe without loading anything heavy is checked here, names and options included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

Precision = Literal["auto", "bf16", "fp16", "fp32"]
# Strict: `yes` is a word and '3' is a word; what looks like a slip is not read as something else.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
BelowOne = Annotated[Number, Field(ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Functions = Mapping[str, Callable[..., Any]]


def folder_name(value: str) -> str:
    """`value`, if it can serve as a folder's name on every system. Raises ValueError where it cannot."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", value) or value.endswith("."):
        raise ValueError(
            f"{shortened(value)} must serve as a folder's name: at most 80 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit, not ending in '.'"
        )
    return value


def _arm_name(value: str) -> str:
    # ARM-seedN is what a trained arm's files are called.
    if re.search(r"-seed\d*$", value):
        raise ValueError(f"{shortened(value)} ends like the name of a trained model; leave out the seed")
    return folder_name(value)


def shortened(value: object) -> str:
    """What was given, in a line that stays a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


FolderName = Annotated[str, AfterValidator(folder_name)]
ArmName = Annotated[str, AfterValidator(_arm_name)]


class Part(BaseModel):
    """A part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(BaseModel):
    """A name with options of its own: the keyword-only parameters of what it names."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The options given."""
        return dict(self.model_extra or {})


def _as_named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Model = Annotated[Named, BeforeValidator(_as_named, json_schema_input_type=str | Named)]


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


class Crop(Part):
    """Random crop of the image padded with black, in pixels on each side."""

    padding: Annotated[int, Field(ge=1, le=4096, strict=True)]


class Views(Part):
    """How views are made. `seed` holds them fixed over the run's seeds."""

    batch_size: Count = 128
    crop: Crop | None = None
    flip: Flag = False
    seed: Seed | None = None


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


class LossTerm(Named):
    """One loss of the weighted sum."""

    weight: NotNegative = 1.0


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
    """One model and how it is trained; a teacher given by `weights` is not trained.

    classes: the class names in the order of the file's outputs. resolution: side of the model's input.
    views: what differs from the run's views; arms that see different views are taught apart.
    baseline: the arm to compare with (the arm called `baseline` unless said otherwise).
    """

    model: Model
    weights: str | None = None
    classes: tuple[str, ...] | None = None
    normalise: NormalisationOf | None = None
    resolution: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = None
    epochs: Count | None = None
    optimizer: Annotated[Sgd | Adam | AdamW | Muon, Field(discriminator="name")] | None = None
    schedule: Annotated[Constant | Step | MultiStep | Cosine | OneCycle, Field(discriminator="name")] = Constant()
    loss: tuple[LossTerm, ...] = ()
    teacher: Voices = ()
    clip_norm: Positive | None = None
    ema: WeightAverage | None = None
    patience: Count | None = None
    choose: Literal["last", "best"] = "last"
    precision: Precision | None = None
    views: Views | None = None
    baseline: str | None = None

    @property
    def trained(self) -> bool:
        """Whether this arm is trained here (a ready teacher is not)."""
        return bool(self.loss)


class Evaluation(Part):
    """How models are measured. latency_batch: images in the batch that is timed (0: no timing at all)."""

    batch_size: Count = 250
    latency_batch: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = 128


class Recipe(Part):
    """Everything that decides a run."""

    name: FolderName
    seeds: tuple[Seed, ...] = (0,)
    teacher_seed: Seed | None = None
    device: str = "auto"
    precision: Precision = "auto"
    threads: Count | None = None
    save_every_seconds: NotNegative = 60.0
    data: Data
    views: Views = Views()
    teachers: dict[ArmName, Arm] = {}
    students: dict[ArmName, Arm]
    evaluation: Evaluation = Evaluation()

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
            raise ValueError(f"takes auto, cpu, cuda, cuda:0 (or another number) or mps; got {shortened(value)}")
        return value

    @model_validator(mode="after")
    def _has_students(self) -> Recipe:
        if not self.students:
            raise ValueError("students: needs at least one arm besides `defaults`")
        return self

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

"""The part of a recipe that says what is to be swept: axes of any keys, and how their values are tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from .fields import Count, Flag, Number, RecipePart, Seed, shortened

Value = bool | int | float | str | None | list[Any] | dict[str, Any]
MOST_SETTINGS = 10_000


class Range(RecipePart):
    """Numbers from `low` to `high`, both included. A grid takes some of them, the other strategies any."""

    low: Number
    """The smallest value."""
    high: Number
    """The largest value."""
    count: Annotated[int, Field(ge=2, le=1000, strict=True)] = 5
    """How many values a grid takes, evenly spaced."""
    log: Flag = False
    """Space them by ratio, as for learning rates."""
    whole: Flag = False
    """Whole numbers only."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        wrong: list[str] = []
        if not self.low < self.high:
            wrong.append(f"low must lie below high; got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            wrong.append(f"log takes a low above 0; got {self.low:g}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def values(self) -> list[float | int]:
        """The values of a grid."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        steps = [low + (high - low) * i / (self.count - 1) for i in range(self.count)]
        found = [self.low, *(math.exp(step) if self.log else step for step in steps[1:-1]), self.high]
        return list(dict.fromkeys(self.rounded(value) for value in found))

    def at(self, share: float) -> float | int:
        """The value that lies at a share in [0, 1] of the way."""
        if self.log:
            return self.rounded(math.exp(math.log(self.low) + (math.log(self.high) - math.log(self.low)) * share))
        return self.rounded(self.low + (self.high - self.low) * share)

    def rounded(self, value: float) -> float | int:
        """To whole numbers where those are asked for; else to twelve digits, so that 0.1 + 0.2 is 0.3."""
        return round(value) if self.whole else float(f"{value:.12g}")


def _form(value: object) -> str:
    return "range" if isinstance(value, dict | Range) else "list"


Axis = Annotated[
    Annotated[tuple[Value, ...], Field(min_length=1), Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(_form),
]


class Sweep(RecipePart):
    """Which settings are tried, and how."""

    axes: Annotated[dict[str, Axis], Field(min_length=1)]
    """The recipe's keys to vary, each with a list of values or a range; `students.*` stands for every student with a
    teacher."""
    complements: dict[str, str] = Field(default_factory=dict)
    """A key to the axis of which it is 1 minus the value, as for weights that sum to 1."""
    strategy: Literal["grid", "random", "tpe"] = "grid"
    """`grid` tries all settings, `random` draws some, `tpe` proposes them from what earlier ones gave (Optuna)."""
    trials: Count | None = None
    """How many settings random and tpe try."""
    batch: Count = 8
    """How many settings tpe proposes at a time."""
    seed: Seed = 0
    """Seed of the settings that are drawn or proposed."""
    pruning: Flag = False
    """End a setting that falls behind the median of the others at the same epoch (tpe only)."""
    seeds: tuple[Seed, ...] | None = None
    """The seeds with which each setting is tried (default: the recipe's first); the chosen one is run with all of
    the recipe's."""
    cohort: Count | None = None
    """Most settings that are taught together (default: as many as memory allows)."""
    storage: str | None = None
    """URL of a database through which machines without a common disk share the settings (default: the run
    directory)."""

    def choices(self) -> dict[str, list[Value]]:
        """The values that a grid takes on each axis."""
        return {key: [*axis.values()] if isinstance(axis, Range) else [*axis] for key, axis in self.axes.items()}

    def grid(self) -> list[dict[str, Value]]:
        """All settings, the last axis fastest."""
        choices = self.choices()
        return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]

    def whole(self, setting: Mapping[str, Value]) -> dict[str, Value]:
        """A setting with its complements."""
        complements: dict[str, Value] = {}
        for key, other in self.complements.items():
            value = setting[other]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"sweep.complements: {key}: {other} takes numbers; got {shortened(value)}")
            complements[key] = float(f"{1 - value:.12g}")
        return {**setting, **complements}

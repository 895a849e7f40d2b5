"""The `sweep` section of a recipe: which keys vary over which values, and how settings are tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from .fields import Count, Flag, Number, RecipePart, Seed, shortened

Value = bool | int | float | str | None | list[Any] | dict[str, Any]
MAX_SETTINGS = 10_000


class Range(RecipePart):
    """Numbers from `low` to `high`, both included. A grid tries `count` of them, the other strategies any."""

    low: Number
    """The smallest value."""
    high: Number
    """The largest value."""
    count: Annotated[int, Field(ge=2, le=1000, strict=True)] = 5
    """Number of evenly spaced values that a grid tries."""
    log: Flag = False
    """Space the values logarithmically, as for learning rates."""
    whole: Flag = False
    """Round the values to integers."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        errors: list[str] = []
        if not self.low < self.high:
            errors.append(f"low must be less than high; got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            errors.append(f"log needs a low greater than 0; got {self.low:g}")
        if errors:
            raise ValueError("; ".join(errors))
        return self

    def values(self) -> list[float | int]:
        """The values that a grid tries."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        steps = [low + (high - low) * i / (self.count - 1) for i in range(1, self.count - 1)]
        values = [self.low, *(math.exp(step) if self.log else step for step in steps), self.high]
        return list(dict.fromkeys(map(self.rounded, values)))

    def at(self, share: float) -> float | int:
        """The value at a fraction in [0, 1] of the way from low to high."""
        if self.log:
            return self.rounded(math.exp(math.log(self.low) + (math.log(self.high) - math.log(self.low)) * share))
        return self.rounded(self.low + (self.high - self.low) * share)

    def rounded(self, value: float) -> float | int:
        """An integer if `whole` is set, else twelve significant digits, so that 0.1 + 0.2 is 0.3."""
        return round(value) if self.whole else float(f"{value:.12g}")


def _axis_type(value: object) -> str:
    return "range" if isinstance(value, dict | Range) else "list"


Axis = Annotated[
    Annotated[tuple[Value, ...], Field(min_length=1), Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(_axis_type),
]


class Sweep(RecipePart):
    """Which settings are tried, and how."""

    axes: Annotated[dict[str, Axis], Field(min_length=1)]
    """The recipe keys to vary, each with a list of values or a range. `students.*` stands for every student that has a
    teacher."""
    complements: dict[str, str] = Field(default={})
    """Keys set to 1 minus the value of an axis, for weights that sum to 1: each maps to the name of its axis."""
    strategy: Literal["grid", "random", "tpe"] = "grid"
    """`grid` tries all settings, `random` samples them, `tpe` proposes them from earlier results (needs Optuna)."""
    trials: Count | None = None
    """Number of settings that random and tpe try."""
    batch: Count = 8
    """Number of settings that tpe proposes at a time."""
    seed: Seed = 0
    """Random seed for sampling or proposing settings."""
    pruning: Flag = False
    """Stop a setting that is worse than the median of the others at the same epoch (tpe only)."""
    seeds: tuple[Seed, ...] | None = None
    """Random seeds for each setting (default: the first of the recipe). The chosen setting is trained with all seeds of
    the recipe."""
    cohort: Count | None = None
    """Maximum number of settings trained together (default: as many as fit in memory)."""
    storage: str | None = None
    """URL of a database through which machines without a shared disk share the sweep (default: the run directory)."""

    def choices(self) -> dict[str, list[Value]]:
        """The values that a grid tries on each axis."""
        return {key: [*axis.values()] if isinstance(axis, Range) else [*axis] for key, axis in self.axes.items()}

    def grid(self) -> list[dict[str, Value]]:
        """All settings; the last axis varies fastest."""
        choices = self.choices()
        return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]

    def whole(self, setting: Mapping[str, Value]) -> dict[str, Value]:
        """A setting with its complements."""
        complements: dict[str, Value] = {}
        for key, axis in self.complements.items():
            value = setting[axis]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"sweep.complements: {key}: {axis} must be a number; got {shortened(value)}")
            complements[key] = float(f"{1 - value:.12g}")
        return {**setting, **complements}

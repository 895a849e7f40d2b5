"""What a student may cost on the device that it will run on."""

from __future__ import annotations

from typing import ClassVar

from .fields import ExtendedPart, Positive


class Budget(ExtendedPart):
    """What each student may cost on this device. Results say for each limit whether it is met; training ignores it."""

    added_later: ClassVar[frozenset[str]] = frozenset({"megabytes", "milliseconds", "multiply_adds"})

    megabytes: Positive | None = None
    """Maximum size of the float32 parameters and buffers, in units of 2^20 bytes (default: no limit)."""
    milliseconds: Positive | None = None
    """Maximum latency of one image, as the median of repeated calls on the recipe's device (default: no limit)."""
    multiply_adds: Positive | None = None
    """Maximum multiply-adds of one image, as in 40e6; convolutions, linear layers and attention count (default: no
    limit)."""

    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        return {name: value for name, value in self if value is not None}

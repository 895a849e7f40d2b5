"""Checks of model options. Each raises a LimbeckError of one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from limbeck.errors import LimbeckError, did_you_mean


def probability(name: str, value: object) -> float:
    """`value` as a probability in [0, 1), for dropout."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise LimbeckError(f"{name}: expected a number of at least 0 and less than 1; got {value!r}")
    return float(value)


def count(name: str, value: object) -> int:
    """`value` as an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LimbeckError(f"{name}: expected an integer of at least 1; got {value!r}")
    return value


def counts(name: str, value: object, length: int) -> tuple[int, ...]:
    """`value` as a tuple of `length` integers of at least 1."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != length:
        raise LimbeckError(f"{name}: expected a list of {length} integers; got {value!r}")
    return tuple(count(name, item) for item in value)


def choice(name: str, value: object, valid: Iterable[str]) -> str:
    """`value` as one of the strings `valid`."""
    words = list(valid)
    if value not in words:
        raise LimbeckError(f"{name}: unknown value {value!r}{did_you_mean(str(value), words)}")
    return str(value)

"""Checks of the values that a recipe gives to a model: each raises one line instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from limbeck.errors import LimbeckError, did_you_mean


def share(name: str, value: object) -> float:
    """`value` as a probability in [0, 1), for dropout."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise LimbeckError(f"{name}: {value!r} is not a number from 0 to below 1")
    return float(value)


def count(name: str, value: object) -> int:
    """`value` as a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LimbeckError(f"{name}: {value!r} is not a whole number from 1")
    return value


def counts(name: str, value: object, length: int) -> tuple[int, ...]:
    """`value` as `length` whole numbers from 1 (a recipe gives a list)."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != length:
        raise LimbeckError(f"{name}: {value!r} is not a list of {length} whole numbers")
    return tuple(count(name, item) for item in value)


def choice(name: str, value: object, valid: Iterable[str]) -> str:
    """`value` as one of the words `valid`."""
    words = list(valid)
    if value not in words:
        raise LimbeckError(f"{name}: no {value!r}{did_you_mean(str(value), words)}")
    return str(value)

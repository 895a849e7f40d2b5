"""Probabilities in log space, used by all losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.errors import LimbeckError, short_repr


def widened(logits: Tensor) -> Tensor:
    """Convert logits to float32; float64 stays float64.

    Half precision must be converted first: in float16, a logit gap of 30 already gives NaN.
    """
    return logits if logits.dtype == torch.float64 else logits.float()


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature), `[B, K]`, in float32 or float64."""
    return torch.log_softmax(widened(logits) / temperature, dim=-1)


def summed_divergence(student: Tensor, teacher: Tensor, temperatures: Sequence[float]) -> Tensor:
    """Σ_T T² · KL(softmax(teacher / T) ‖ softmax(student / T)) over the temperatures, `[B]`."""
    value = torch.zeros_like(student[:, 0])
    for temperature in temperatures:
        log_p, log_q = log_probabilities(teacher, temperature), log_probabilities(student, temperature)
        value = value + temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=-1)
    return value


def checked_temperatures(name: str, given: object) -> tuple[float, ...]:
    """The option `temperatures` of a loss. Raises LimbeckError unless it is a list of numbers above 0."""
    values = list(given) if isinstance(given, list | tuple) else []
    if not values or not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= 1e9 for v in values):
        raise LimbeckError(f"{name}: temperatures must be a list of numbers above 0; got {short_repr(given)}")
    return tuple(float(value) for value in values)

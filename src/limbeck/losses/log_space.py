"""Probabilities in log space, used by all losses."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(logits: Tensor) -> Tensor:
    """Convert logits to float32; float64 stays float64.

    Half precision must be converted first: in float16, a logit gap of 30 already gives NaN.
    """
    return logits if logits.dtype == torch.float64 else logits.float()


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature), `[B, K]`, in float32 or float64."""
    return torch.log_softmax(widened(logits) / temperature, dim=-1)

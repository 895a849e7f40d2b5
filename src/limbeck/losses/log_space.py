"""What the losses share: probabilities that stay in log space."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(logits: Tensor) -> Tensor:
    """The same logits in float32 at least (float64 stays float64).

    Half precision is widened before anything is done to it: a logit gap of 30 already gives NaN in float16.
    """
    return logits if logits.dtype == torch.float64 else logits.float()


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature), `[B, K]`, in float32 at least."""
    return torch.log_softmax(widened(logits) / temperature, dim=-1)

"""What the losses share: probabilities that stay in log space."""

from __future__ import annotations

import torch
from torch import Tensor


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature), `[B, K]`, in float32 at least (float64 stays float64).

    Half precision is widened before the division: a logit gap of 30 already gives NaN in float16.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.log_softmax(wide / temperature, dim=-1)

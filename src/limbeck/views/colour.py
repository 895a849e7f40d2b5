"""Operations that interpolate between an image and its grey or blurred version: saturation and sharpness."""

from __future__ import annotations

import torch
from torch import Tensor

from .pixels import truncate

LUMA_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R BT.601, rounded as in image libraries


def grey(images: Tensor) -> Tensor:
    """Grey level of each pixel, rounded down: `[n, H, W, 3]` uint8 to `[n, H, W, 1]` float32."""
    red, green, blue = images.float().unbind(-1)
    level = (red * LUMA_WEIGHTS[0]).add_(green, alpha=LUMA_WEIGHTS[1]).add_(blue, alpha=LUMA_WEIGHTS[2])
    return level.floor_().unsqueeze(-1)


def saturate(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Move each pixel away from its grey level (magnitude > 0) or towards it (magnitude < 0).

    images: `[n, H, W, 3]` uint8. magnitudes: `[n]`.
    """
    magnitude = magnitudes.to(images.device).view(-1, 1, 1, 1)
    # Not grey · (1 - factor): the factor is rounded, and a grey pixel would fall just below its own level.
    mixed = torch.addcmul(images * (1 + magnitude), grey(images), magnitude, value=-1)
    return truncate(mixed.clamp_(0, 255))


def sharpen(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Move each pixel away from its blurred value (magnitude > 0) or towards it (magnitude < 0).

    Border pixels do not change. As in Pillow, the blur kernel has weight 5 for the pixel and 1 for each of its eight
    neighbours. images: `[n, H, W, C]` uint8. magnitudes: `[n]`.
    """
    _, height, width, _ = images.shape
    if height <= 2 or width <= 2:
        return images
    levels = images.to(torch.int16)
    row_sums = levels[:, :-2] + levels[:, 1:-1] + levels[:, 2:]
    box_sums = row_sums[:, :, :-2] + row_sums[:, :, 1:-1] + row_sums[:, :, 2:]
    inner = levels[:, 1:-1, 1:-1]
    blurred = ((box_sums + 4 * inner).float() / 13).round_()
    sharpened = inner + (blurred - inner) * -magnitudes.to(images.device).view(-1, 1, 1, 1)
    result = images.clone()
    result[:, 1:-1, 1:-1] = truncate(sharpened.clamp_(0, 255))
    return result

"""Shear, translate, rotate: where each pixel comes from."""

from __future__ import annotations

import torch
from torch import Tensor

SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, ROTATE = range(5)


def move(images: Tensor, magnitudes: Tensor, kinds: Tensor) -> Tensor:
    """Take each pixel from the nearest place that its image's operation says; black where that is outside.

    images: `[n, H, W, C]` uint8. magnitudes, kinds: `[n]` on the CPU. Shears keep the top-left corner in place,
    rotations the centre; a translation moves by whole pixels, cut off towards 0.
    """
    count, height, width, channels = images.shape
    matrices = _matrices(magnitudes, kinds, height, width).to(images.device)
    column, row = (_source(matrices[:, axis], side, height, width) for axis, side in enumerate((width, height)))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    first = torch.arange(0, count * height * width, height * width, device=images.device, dtype=torch.int32)
    index = (row * width + column).to(torch.int32).where(inside, 0).add_(first.view(-1, 1, 1))
    # Whole pixels at a time; packing them into 32-bit words first was tried and gains nothing.
    pixels = images.view(-1, channels).index_select(0, index.view(-1)).view_as(images)
    return pixels * inside.unsqueeze(-1)


def _source(line: Tensor, side: int, height: int, width: int) -> Tensor:
    """The column or row that each pixel comes from, `[n, H, W]`, whole numbers in float32.

    line: `[n, 3]`, what x, y and 1 count. Coordinates are of pixel centres from the middle of the image, then in
    halves of the side, then pixels again, as a sampler of normalised coordinates has them: so that places between
    two pixels go to the one that they go to there. As a product of matrices it took three times as long.
    """
    x = torch.arange(width, device=line.device) - (0.5 * width - 0.5)
    y = torch.arange(height, device=line.device) - (0.5 * height - 0.5)
    a, b, c = (line / (0.5 * side)).unbind(1)
    across, down = a[:, None] * x, b[:, None] * y
    normalised = across[:, None, :] + down[:, :, None]
    return normalised.add_(c.view(-1, 1, 1)).add_(1).mul_(side).sub_(1).div_(2).round_()


def _matrices(magnitudes: Tensor, kinds: Tensor, height: int, width: int) -> Tensor:
    """From a pixel's place to where it comes from, `[n, 2, 3]` float32, in pixels from the middle."""
    m = magnitudes.double()
    one, zero = torch.ones_like(m), torch.zeros_like(m)
    angle = torch.deg2rad(torch.where(kinds == ROTATE, -m, zero))
    shear_x, shear_y = m.where(kinds == SHEAR_X, zero), m.where(kinds == SHEAR_Y, zero)
    shift_x, shift_y = m.trunc().where(kinds == TRANSLATE_X, zero), m.trunc().where(kinds == TRANSLATE_Y, zero)
    # A shear by the slope s takes x from x + s·y, measured from the corner, half an image from the middle.
    first = [angle.cos() * one, angle.sin() + shear_x, shear_x * 0.5 * height - shift_x]
    second = [-angle.sin() + shear_y, angle.cos() * one, shear_y * 0.5 * width - shift_y]
    return torch.stack([torch.stack(first, -1), torch.stack(second, -1)], 1).float()

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
    # Coordinates of pixel centres from the middle of the image, then halves of a side, then pixels again, as a
    # sampler of normalised coordinates has them: so that ties between two pixels fall as they do there.
    x = torch.arange(width, device=images.device) - (0.5 * width - 0.5)
    y = torch.arange(height, device=images.device) - (0.5 * height - 0.5)
    places = torch.stack(
        [x.expand(height, width), y[:, None].expand(height, width), torch.ones_like(x).expand(height, width)], -1
    )
    half = torch.tensor([0.5 * width, 0.5 * height], device=images.device)
    grid = places.view(1, -1, 3).expand(count, -1, -1).bmm(matrices.transpose(1, 2) / half)  # [n, H·W, 2]
    size = torch.tensor([width, height], device=images.device)
    source = (((grid + 1) * size - 1) / 2).round_()
    column, row = source.unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    first = torch.arange(0, count * height * width, height * width, device=images.device)[:, None]
    index = first + (row * width + column).long().where(inside, 0)
    pixels = images.view(-1, channels).index_select(0, index.view(-1)).view(count, -1, channels)
    return (pixels * inside.unsqueeze(-1)).view_as(images)


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

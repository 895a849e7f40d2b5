"""Shear, translate, rotate: where each pixel comes from."""

from __future__ import annotations

import torch
from torch import Tensor


def move(images: Tensor, magnitudes: Tensor, kinds: Tensor) -> Tensor:
    """Take each pixel from the nearest place that its image's operation says; black where that is outside.

    images: `[n, H, W, C]` uint8. magnitudes, kinds: `[n]` on the CPU. Shears keep the top-left corner in place,
    rotations the centre; a translation moves by whole pixels, cut off towards 0.
    """
    count, height, width, channels = images.shape
    sides = torch.tensor((width, height), device=images.device).view(2, 1, 1)
    source = _source(_matrices(magnitudes, kinds, height, width).to(images.device), sides)
    inside = ((source >= 0) & (source < sides)).unbind(1)
    column, row = source.unbind(1)
    black, all_pixels = images.new_zeros(1, channels), count * height * width
    first = torch.arange(0, all_pixels, height * width, device=images.device, dtype=torch.int32)
    index = torch.add(column, row, alpha=width).to(torch.int32).add_(first.view(-1, 1, 1))
    index = index.where(inside[0] & inside[1], all_pixels)
    # Whole pixels at a time; packing them into 32-bit words first was tried and gains nothing. Blackening what comes
    # from outside by a product with `inside` took as long as the gather.
    return torch.cat([images.view(-1, channels), black]).index_select(0, index.view(-1)).view_as(images)


def _source(matrices: Tensor, sides: Tensor) -> Tensor:
    """The column and the row that each pixel comes from, `[n, 2, H, W]`, whole numbers in float32.

    matrices: `[n, 2, 3]`, what x, y and 1 count. sides: `[2, 1, 1]`, width and height. Coordinates are of pixel centres
    from the middle of the image, then in halves of the side, then pixels again, as a sampler of normalised coordinates
    has them: so that places between two pixels go to the one that they go to there. As a product of matrices it took
    three times as long.
    """
    width, height = sides.view(-1).tolist()
    x = torch.arange(width, device=sides.device) - (0.5 * width - 0.5)
    y = torch.arange(height, device=sides.device) - (0.5 * height - 0.5)
    a, b, c = (matrices / (0.5 * sides.view(2, 1))).unsqueeze(3).unbind(2)
    normalised = (a * x).unsqueeze(2) + (b * y).unsqueeze(3)
    return normalised.add_(c.unsqueeze(3)).add_(1).mul_(sides).sub_(1).div_(2).round_()


def _matrices(magnitudes: Tensor, kinds: Tensor, height: int, width: int) -> Tensor:
    """From a pixel's place to where it comes from, `[n, 2, 3]` float32, in pixels from the middle."""
    of_kind = magnitudes.double().unsqueeze(1) * (kinds.unsqueeze(1) == torch.arange(5))
    shear_x, shear_y, shift_x, shift_y, turn = of_kind.unbind(1)  # kinds 0 to 4, as `operations.GEOMETRY`
    angle = torch.deg2rad(-turn)
    cosine, sine = angle.cos(), angle.sin()
    # A shear by the slope s takes x from x + s·y, measured from the corner, half an image from the middle.
    parts = (
        cosine, shear_x + sine, torch.sub(shear_x * (0.5 * height), shift_x.trunc()),
        shear_y - sine, cosine, torch.sub(shear_y * (0.5 * width), shift_y.trunc()),
    )  # fmt: skip
    return torch.stack(parts, 1).view(-1, 2, 3).float()

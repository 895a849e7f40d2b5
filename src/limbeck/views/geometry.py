"""Affine operations: shear, translate and rotate."""

from __future__ import annotations

import torch
from torch import Tensor


def transform(images: Tensor, magnitudes: Tensor, kinds: Tensor) -> Tensor:
    """Apply to each image its affine operation, with nearest-neighbour sampling and black outside the image.

    images: `[n, H, W, C]` uint8. magnitudes, kinds: `[n]` on the CPU. Shears fix the top-left corner, rotations the
    centre. Translations are whole pixels, truncated towards 0.
    """
    count, height, width, channels = images.shape
    sides = torch.tensor((width, height), device=images.device).view(2, 1, 1)
    source = _source_coordinates(_inverse_matrices(magnitudes, kinds, height, width).to(images.device), sides)
    inside = ((source >= 0) & (source < sides)).unbind(1)
    column, row = source.unbind(1)
    black, all_pixels = images.new_zeros(1, channels), count * height * width
    first = torch.arange(0, all_pixels, height * width, device=images.device, dtype=torch.int32)
    index = torch.add(column, row, alpha=width).to(torch.int32).add_(first.view(-1, 1, 1))
    index = index.where(inside[0] & inside[1], all_pixels)
    # Gathers whole pixels; packing them into 32-bit words first is no faster. Pixels outside read an appended black
    # pixel, because multiplying by `inside` takes as long as the gather itself.
    return torch.cat([images.view(-1, channels), black]).index_select(0, index.view(-1)).view_as(images)


def _source_coordinates(matrices: Tensor, sides: Tensor) -> Tensor:
    """The column and row from which each pixel is read, `[n, 2, H, W]`, integral float32.

    matrices: `[n, 2, 3]`, coefficients of x, y and 1. sides: `[2, 1, 1]`, width and height.
    Coordinates are pixel centres relative to the image centre. They are divided by half the side and scaled back, as in
    a sampler with normalised coordinates, so that ties between two pixels round the same way. The elementwise form is
    three times faster than a matrix product.
    """
    width, height = sides.view(-1).tolist()
    x = torch.arange(width, device=sides.device) - (0.5 * width - 0.5)
    y = torch.arange(height, device=sides.device) - (0.5 * height - 0.5)
    a, b, c = (matrices / (0.5 * sides.view(2, 1))).unsqueeze(3).unbind(2)
    normalised = (a * x).unsqueeze(2) + (b * y).unsqueeze(3)
    return normalised.add_(c.unsqueeze(3)).add_(1).mul_(sides).sub_(1).div_(2).round_()


def _inverse_matrices(magnitudes: Tensor, kinds: Tensor, height: int, width: int) -> Tensor:
    """Inverse affine matrices, output to input coordinates, `[n, 2, 3]` float32, in pixels from the image centre."""
    of_kind = magnitudes.double().unsqueeze(1) * (kinds.unsqueeze(1) == torch.arange(5))
    shear_x, shear_y, shift_x, shift_y, turn = of_kind.unbind(1)  # kinds 0 to 4, in the order of `operations.GEOMETRY`
    angle = torch.deg2rad(-turn)
    cosine, sine = angle.cos(), angle.sin()
    # A shear of slope s reads x from x + s·y, with y measured from the corner: half an image from the centre.
    parts = (
        cosine, shear_x + sine, torch.sub(shear_x * (0.5 * height), shift_x.trunc()),
        shear_y - sine, cosine, torch.sub(shear_y * (0.5 * width), shift_y.trunc()),
    )  # fmt: skip
    return torch.stack(parts, 1).view(-1, 2, 3).float()

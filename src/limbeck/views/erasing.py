"""Random erasing: fill a rectangle of an image with a colour or noise.

Published recipes erase after normalisation and fill with 0. Limbeck erases uint8 images before normalisation, where 0
corresponds to the mean colour of the data set, rounded to a whole level. Noise has the data set's mean and standard
deviation, rounded and clipped to [0, 255].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.recipes.views import Erasing

from .pixels import replace_images

ATTEMPTS = 10


class Boxes(NamedTuple):
    """The rectangles to erase.

    corners: `[B, 4]` int64: top, left, height, width; all 0 where nothing is erased.
    noise: `[P, 3]` float32, standard normal, if the fill is noise; else None. P is the number of erased pixels of all
    images, in image order and row by row.
    """

    corners: Tensor
    noise: Tensor | None = None


def draw(erasing: Erasing, batch: int, height: int, width: int, generator: torch.Generator) -> Boxes:
    """Draw a rectangle for each image (Zhong et al. 2020, "Random Erasing Data Augmentation", algorithm 1).

    Uses the first of ten random rectangles that fits the image. If none fits, nothing is erased.
    """
    chosen = torch.rand(batch, generator=generator, dtype=torch.float64) < erasing.probability
    uniform = draw_candidates(batch, generator)[:, chosen]
    fitting = first_fit(uniform, height, width, erasing.area, erasing.aspect, strict=True)
    corners = torch.zeros(batch, 4, dtype=torch.int64)
    corners[chosen] = fitting * fitting[:, 2:].all(dim=1, keepdim=True)
    if erasing.fill != "noise":
        return Boxes(corners)
    pixels = int((corners[:, 2] * corners[:, 3]).sum())
    return Boxes(corners, torch.randn(pixels, 3, generator=generator))


def draw_candidates(batch: int, generator: torch.Generator) -> Tensor:
    """Uniform random numbers for ten candidate rectangles per image, `[4, B, 10]` in [0, 1)."""
    return torch.rand(4, batch, ATTEMPTS, generator=generator, dtype=torch.float64)


def first_fit(
    uniform: Tensor, height: int, width: int, area: tuple[float, float], aspect: tuple[float, float], *, strict: bool
) -> Tensor:
    """The first candidate rectangle of each image that fits: `[B, 4]` top, left, height, width; zeros if none fits.

    uniform: from `draw_candidates`. area: fraction of the image's area, uniform. aspect: height / width, log-uniform.
    strict: the rectangle must be smaller than the image in both directions and may be empty; otherwise it may be as
    large as the image and has at least one pixel. Equivalent to the published loops, which draw image by image.
    """
    size = height * width * (area[0] + (area[1] - area[0]) * uniform[0])
    low, high = math.log(aspect[0]), math.log(aspect[1])
    ratio = (low + (high - low) * uniform[1]).exp()
    # Rounds half to even, as Python's `round` does.
    sides = torch.stack([size * ratio, size / ratio]).sqrt_().round_()
    whole = torch.tensor((height, width), dtype=torch.float64).view(2, 1, 1)
    fits = (sides < whole if strict else (sides <= whole) & (sides > 0)).all(dim=0)
    first = fits.int().argmax(dim=1).view(1, -1, 1).expand(2, -1, 1)
    side = sides.gather(2, first)
    corner = (uniform[2:].gather(2, first) * (whole - side + 1)).trunc()
    found = torch.cat([corner, side]).squeeze(2).T * fits.any(dim=1, keepdim=True)
    return found.long()


def erase(images: Tensor, boxes: Boxes, erasing: Erasing, mean: tuple[float, ...], sd: tuple[float, ...]) -> Tensor:
    """Fill the boxes.

    images: `[B, H, W, C]` contiguous uint8, not modified. mean, sd: of the data set's pixels, scaled to [0, 1].
    Returns a tensor of the same shape, or `images` itself if all boxes are empty.

    Measured on 128 images of 32 px, one thread, a quarter of them erased: 0.1 ms. Slower alternatives: one copy by
    pixel index, 0.25 ms; a mask per pixel instead of per value, which has an inner loop of three, 0.3 ms;
    `masked_scatter`, 0.6 ms.
    """
    which = boxes.corners[:, 2:].all(dim=1).nonzero().squeeze(1)
    if not len(which):
        return images
    device, (_, height, width, channels) = images.device, images.shape
    inside = _box_mask(boxes.corners[which], height, width, channels).to(device)
    some = images.index_select(0, which.to(device))
    if erasing.fill == "black":
        colour = torch.zeros(channels, device=device)
    else:
        colour = 255 * torch.tensor(mean, device=device)
    if boxes.noise is None:
        rows = some.view(len(which), height, width * channels)
        painted = torch.where(inside, _to_levels(colour).repeat(width), rows).view_as(some)
    else:
        noise = _to_levels(colour + 255 * torch.tensor(sd, device=device) * boxes.noise.to(device))
        painted = some.masked_scatter(inside.view_as(some), noise)
    return replace_images(images, which, painted)


def _to_levels(colour: Tensor) -> Tensor:
    return colour.round().clamp(0, 255).to(torch.uint8)


def _box_mask(corners: Tensor, height: int, width: int, channels: int) -> Tensor:
    """Mask of the values that the boxes cover, `[n, H, W·C]` bool, on the CPU like the corners."""
    top, left, tall, wide = corners.unsqueeze(2).unbind(1)
    row = torch.arange(height)
    column = torch.arange(width).repeat_interleave(channels)
    rows, columns = (row >= top) & (row < top + tall), (column >= left) & (column < left + wide)
    return rows.unsqueeze(2) & columns.unsqueeze(1)

"""Random erasing: a rectangle of the image is painted over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

ATTEMPTS = 10


@dataclass(frozen=True)
class Erasing:
    """probability: that an image is erased. area: of the rectangle, as a share of the image's. aspect: height / width.

    fill: `mean`, the data's mean colour, which is what 0 after normalising is; `black`; or `noise`, normal noise
    with the data's mean and deviation. All in whole grey levels.
    """

    probability: float = 0.25
    area: tuple[float, float] = (0.02, 0.33)
    aspect: tuple[float, float] = (0.3, 3.3)
    fill: str = "mean"


class Boxes(NamedTuple):
    """corners: `[B, 4]` int64: top, left, height, width; nothing is erased where the height is 0.

    noise: `[B, H, W, 3]` float32 of mean 0 and deviation 1 where the fill is noise, else None.
    """

    corners: Tensor
    noise: Tensor | None


def draw(erasing: Erasing, batch: int, height: int, width: int, generator: torch.Generator) -> Boxes:
    """A rectangle for each image (Zhong et al. 2020, "Random Erasing Data Augmentation", algorithm 1).

    Of ten tries at area and log-uniform aspect the first that fits is taken; where none does, nothing is erased.
    """
    chosen = torch.rand(batch, generator=generator, dtype=torch.float64) < erasing.probability
    corners = first_fit(batch, height, width, erasing.area, erasing.aspect, generator, strict=True)
    corners[~chosen] = 0
    noise = None
    if erasing.fill == "noise":
        noise = torch.randn(batch, height, width, 3, generator=generator)
    return Boxes(corners, noise)


def first_fit(
    batch: int,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
    generator: torch.Generator,
    *,
    strict: bool,
) -> Tensor:
    """For each image the first of ten random rectangles that fits: `[B, 4]` top, left, height, width; zeros if none.

    area: share of the image's, uniform. aspect: height / width, log-uniform. strict: smaller than the image in both
    directions, not only as large as it.
    """
    u = torch.rand(4, batch, ATTEMPTS, generator=generator, dtype=torch.float64)
    size = height * width * (area[0] + (area[1] - area[0]) * u[0])
    low, high = math.log(aspect[0]), math.log(aspect[1])
    ratio = (low + (high - low) * u[1]).exp()
    # Half to even, as Python rounds.
    heights, widths = (size * ratio).sqrt().round().long(), (size / ratio).sqrt().round().long()
    room = 0 if strict else 1
    fits = (heights < height + room) & (widths < width + room) & (heights > 0) & (widths > 0)
    tops = (u[2] * (height - heights + 1)).long()
    lefts = (u[3] * (width - widths + 1)).long()
    first = fits.int().argmax(dim=1, keepdim=True)
    found = torch.stack([part.gather(1, first).squeeze(1) for part in (tops, lefts, heights, widths)], dim=1)
    return found * fits.any(dim=1, keepdim=True)


def erase(images: Tensor, boxes: Boxes, erasing: Erasing, mean: tuple[float, ...], sd: tuple[float, ...]) -> Tensor:
    """Paint the boxes over. images: `[B, H, W, C]` uint8. mean, sd: the data's, of pixels scaled to [0, 1]."""
    erased = boxes.corners[:, 2].nonzero().squeeze(1)  # known on the CPU: nothing waits for a device
    if not len(erased):
        return images
    device, (_, height, width, _) = images.device, images.shape
    top, left, tall, wide = (part.view(-1, 1, 1) for part in boxes.corners[erased].to(device).unbind(1))
    row = torch.arange(height, device=device).view(1, -1, 1)
    column = torch.arange(width, device=device).view(1, 1, -1)
    inside = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    colour = torch.tensor(mean, device=device) * 255
    if erasing.fill == "noise" and boxes.noise is not None:
        colour = colour + 255 * torch.tensor(sd, device=device) * boxes.noise[erased].to(device)
    elif erasing.fill == "black":
        colour = torch.zeros_like(colour)
    paint = colour.round().clamp(0, 255).to(torch.uint8)
    where = erased.to(device)
    return images.index_copy(0, where, torch.where(inside.unsqueeze(-1), paint, images.index_select(0, where)))

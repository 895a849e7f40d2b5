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

    fill: `mean`, the data's mean colour; `black`; or `noise`, normal noise with the data's mean and deviation.
    Published recipes erase after normalising and fill with 0: on bytes before normalising that is the mean colour,
    rounded to a grey level. Noise is rounded, and clipped to black and white.
    """

    probability: float = 0.25
    area: tuple[float, float] = (0.02, 0.33)
    aspect: tuple[float, float] = (0.3, 3.3)
    fill: str = "mean"


class Boxes(NamedTuple):
    """corners: `[B, 4]` int64: top, left, height, width; all 0 where nothing is erased.

    noise: `[P, 3]` float32 of mean 0 and deviation 1 where the fill is noise, else None. P counts the erased pixels of
    all images, in their order, row by row.
    """

    corners: Tensor
    noise: Tensor | None = None


def draw(erasing: Erasing, batch: int, height: int, width: int, generator: torch.Generator) -> Boxes:
    """A rectangle for each image (Zhong et al. 2020, "Random Erasing Data Augmentation", algorithm 1).

    Of ten tries at area and log-uniform aspect the first that fits is taken; where none does, nothing is erased.
    """
    chosen = torch.rand(batch, generator=generator, dtype=torch.float64) < erasing.probability
    corners = first_fit(batch, height, width, erasing.area, erasing.aspect, generator, strict=True)
    corners = corners * (chosen & corners[:, 2:].all(dim=1)).unsqueeze(1)
    if erasing.fill != "noise":
        return Boxes(corners)
    pixels = int((corners[:, 2] * corners[:, 3]).sum())
    return Boxes(corners, torch.randn(pixels, 3, generator=generator))


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

    area: share of the image's, uniform. aspect: height / width, log-uniform. strict: it must be smaller than the image
    in both directions, and may have no pixel; otherwise it may be as large as the image, and has one. So do the
    published loops, which draw one image's rectangle after the other.
    """
    u = torch.rand(4, batch, ATTEMPTS, generator=generator, dtype=torch.float64)
    size = height * width * (area[0] + (area[1] - area[0]) * u[0])
    low, high = math.log(aspect[0]), math.log(aspect[1])
    ratio = (low + (high - low) * u[1]).exp()
    # Half to even, as Python rounds.
    heights, widths = (size * ratio).sqrt().round().long(), (size / ratio).sqrt().round().long()
    if strict:
        fits = (heights < height) & (widths < width)
    else:
        fits = (heights <= height) & (widths <= width) & (heights > 0) & (widths > 0)
    tops = (u[2] * (height - heights + 1)).long()
    lefts = (u[3] * (width - widths + 1)).long()
    first = fits.int().argmax(dim=1, keepdim=True)
    found = torch.stack([part.gather(1, first).squeeze(1) for part in (tops, lefts, heights, widths)], dim=1)
    return found * fits.any(dim=1, keepdim=True)


def erase(images: Tensor, boxes: Boxes, erasing: Erasing, mean: tuple[float, ...], sd: tuple[float, ...]) -> Tensor:
    """Paint the boxes over.

    images: `[B, H, W, C]` contiguous uint8, which stay as they are. mean, sd: the data's, of pixels scaled to [0, 1].
    Returns the same shape, or `images` themselves where no box has a pixel.

    Tried on 128 images of 32 px, one thread, a quarter of them erased: this 0.2 ms; `where` with a mask on the erased
    images 0.3 to 0.4 ms, on all of them 0.7 ms; `masked_scatter` 0.6 ms.
    """
    _, height, width, channels = images.shape
    places = _pixels(boxes.corners, height, width)
    if not len(places):
        return images
    device = images.device
    if erasing.fill == "black":
        colour = torch.zeros(channels, device=device)
    else:
        colour = 255 * torch.tensor(mean, device=device)
    if boxes.noise is not None:
        colour = colour + 255 * torch.tensor(sd, device=device) * boxes.noise.to(device)
    paint = colour.round().clamp(0, 255).to(torch.uint8).expand(len(places), channels)
    return images.view(-1, channels).index_copy(0, places.to(device), paint).view(images.shape)


def _pixels(corners: Tensor, height: int, width: int) -> Tensor:
    """Places `[P]` int64 of the boxes' pixels among those of the batch, made where the corners are, on the CPU."""
    top, left, tall, wide = corners.unbind(1)
    counts = tall * wide
    image = torch.repeat_interleave(counts)
    top, left, wide, first = (part[image] for part in (top, left, wide, counts.cumsum(0) - counts))
    place = torch.arange(len(image)) - first  # within the box
    row = place.div(wide, rounding_mode="floor")
    return (image * height + top + row) * width + left + place - row * wide

"""Operations that give each grey level another: one table an image and channel, one look-up for all."""

from __future__ import annotations

import torch
from torch import Tensor

from .colour import grey
from .pixels import truncate

LEVELS = 256


def map_levels(images: Tensor, magnitudes: Tensor, kinds: Tensor) -> Tensor:
    """Apply to each image the table of its operation.

    images: `[n, H, W, C]` uint8, sorted by kind. magnitudes, kinds: `[n]` on the CPU; kinds are places in `TABLES`.
    """
    count, height, width, channels = images.shape
    counts = torch.bincount(kinds, minlength=len(TABLES)).tolist()
    of_kind = zip(TABLES, images.split(counts), magnitudes.to(images.device).view(-1, 1, 1).split(counts), strict=True)
    tables = torch.cat([make(some, m).expand(len(m), channels, LEVELS) for make, some, m in of_kind if len(m)])
    # Plane by plane: gathering from a row of 256 is three times faster than from all tables at once. Planes are read
    # and written where they lie: making them contiguous before and pixels after took as long again.
    result = torch.empty_like(images)
    planes = images.view(count, height * width, channels).long().transpose(1, 2)
    torch.gather(tables, 2, planes, out=result.view(count, height * width, channels).transpose(1, 2))
    return result


def _every_level(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.arange(LEVELS, device=images.device, dtype=dtype)


def _brightness(images: Tensor, m: Tensor) -> Tensor:
    """Each level times 1 + m."""
    return truncate((_every_level(images) * (1 + m)).clamp_(0, 255))


def _contrast(images: Tensor, m: Tensor) -> Tensor:
    """Away from the image's mean grey (above 0) or towards it."""
    mean = grey(images).mean(dim=(1, 2, 3)).view(-1, 1, 1)
    return truncate((_every_level(images) * (1 + m) - mean * m).clamp_(0, 255))


def _posterize(images: Tensor, m: Tensor) -> Tensor:
    """The m highest bits of each level."""
    return _every_level(images, torch.uint8) & (LEVELS - 2 ** (8 - m.trunc())).to(torch.uint8)


def _solarize(images: Tensor, m: Tensor) -> Tensor:
    """Levels from m, a part of white, on are inverted."""
    levels = _every_level(images)
    return truncate(levels.where(levels < 255 * m, 255 - levels))


def _invert(images: Tensor, m: Tensor) -> Tensor:
    """White to black, for all images alike."""
    return 255 - _every_level(images, torch.uint8)


def _auto_contrast(images: Tensor, m: Tensor) -> Tensor:
    """The darkest level of each channel becomes 0 and the brightest 255; a channel of one level stays."""
    flat = images.flatten(1, 2)
    low, high = flat.amin(dim=1).float().unsqueeze(-1), flat.amax(dim=1).float().unsqueeze(-1)
    varies = high > low
    scale = ((high - low) * (1 / 255)).where(varies, 1.0)
    return truncate(((_every_level(images) - low.where(varies, 0.0)) / scale).clamp_(0, 255))


def _equalize(images: Tensor, m: Tensor) -> Tensor:
    """Levels spread so that each is about equally frequent, by the rule of Pillow: pixels of the brightest level apart.

    A channel with too few pixels below its brightest level stays.
    """
    count, height, width, channels = images.shape
    # A row at a time: a sum over three channels has an inner loop of three, and takes four times as long.
    first = torch.arange(0, count * channels * LEVELS, LEVELS, device=images.device, dtype=torch.int32)
    first = first.view(count, 1, channels).repeat(1, 1, width)
    places = images.view(count, height, width * channels) + first
    histogram = torch.bincount(places.view(-1), minlength=count * channels * LEVELS)
    histogram = histogram.view(count, channels, LEVELS).double()  # whole numbers; integers divide three times slower
    total = histogram.cumsum(dim=-1)
    below = total.where(total < total[..., -1:], 0).amax(dim=-1, keepdim=True)
    step = (below / (LEVELS - 1)).floor_()
    spread = ((total - histogram + (step / 2).floor_()) / step.clamp_min(1)).floor_().clamp_max_(LEVELS - 1)
    return truncate(spread.where(step > 0, _every_level(images, torch.float64)))


# What makes the tables `[n, 1 or C, 256]` of each kind, from images `[n, H, W, C]` and magnitudes m, `[n, 1, 1]`.
TABLES = (_brightness, _contrast, _posterize, _solarize, _invert, _auto_contrast, _equalize)

"""Operations that map each intensity level to another, as one lookup table per image and channel."""

from __future__ import annotations

import torch
from torch import Tensor

from .colour import grey
from .pixels import truncate

LEVELS = 256


def apply_lookup_tables(images: Tensor, magnitudes: Tensor, kinds: Tensor) -> Tensor:
    """Apply to each image the lookup table of its operation.

    images: `[n, H, W, C]` uint8, sorted by kind. magnitudes, kinds: `[n]` on the CPU; kinds index `TABLES`.
    """
    count, height, width, channels = images.shape
    counts = torch.bincount(kinds, minlength=len(TABLES)).tolist()
    of_kind = zip(TABLES, images.split(counts), magnitudes.to(images.device).view(-1, 1, 1).split(counts), strict=True)
    tables = torch.cat([make(some, m).expand(len(m), channels, LEVELS) for make, some, m in of_kind if len(m)])
    # Gather per channel: a table of 256 entries is three times faster than all tables at once. The strided planes are
    # read and written in place, because making them contiguous first would double the time.
    result = torch.empty_like(images)
    planes = images.view(count, height * width, channels).long().transpose(1, 2)
    torch.gather(tables, 2, planes, out=result.view(count, height * width, channels).transpose(1, 2))
    return result


def _every_level(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.arange(LEVELS, device=images.device, dtype=dtype)


def _brightness(images: Tensor, m: Tensor) -> Tensor:
    """Multiply each level by 1 + m."""
    return truncate((_every_level(images) * (1 + m)).clamp_(0, 255))


def _contrast(images: Tensor, m: Tensor) -> Tensor:
    """Move each level away from the image's mean grey (m > 0) or towards it (m < 0)."""
    mean = grey(images).mean(dim=(1, 2, 3)).view(-1, 1, 1)
    return truncate((_every_level(images) * (1 + m) - mean * m).clamp_(0, 255))


def _posterize(images: Tensor, m: Tensor) -> Tensor:
    """Keep the m highest bits of each level."""
    return _every_level(images, torch.uint8) & (LEVELS - 2 ** (8 - m.trunc())).to(torch.uint8)


def _solarize(images: Tensor, m: Tensor) -> Tensor:
    """Invert the levels at or above m, a fraction of white."""
    levels = _every_level(images)
    return truncate(levels.where(levels < 255 * m, 255 - levels))


def _invert(images: Tensor, m: Tensor) -> Tensor:
    """Invert all levels. m is ignored."""
    return 255 - _every_level(images, torch.uint8)


def _auto_contrast(images: Tensor, m: Tensor) -> Tensor:
    """Stretch each channel so that its darkest level becomes 0 and its brightest 255. Flat channels do not change."""
    flat = images.flatten(1, 2)
    low, high = flat.amin(dim=1).float().unsqueeze(-1), flat.amax(dim=1).float().unsqueeze(-1)
    varies = high > low
    scale = ((high - low) * (1 / 255)).where(varies, 1.0)
    return truncate(((_every_level(images) - low.where(varies, 0.0)) / scale).clamp_(0, 255))


def _equalize(images: Tensor, m: Tensor) -> Tensor:
    """Equalise the histogram of each channel as Pillow does, which leaves the brightest level out of the count.

    A channel with too few pixels below its brightest level does not change.
    """
    count, height, width, channels = images.shape
    # Add the offsets to whole rows: broadcasting over three channels has an inner loop of three, four times slower.
    first = torch.arange(0, count * channels * LEVELS, LEVELS, device=images.device, dtype=torch.int32)
    first = first.view(count, 1, channels).repeat(1, 1, width)
    places = images.view(count, height, width * channels) + first
    histogram = torch.bincount(places.view(-1), minlength=count * channels * LEVELS)
    histogram = histogram.view(
        count, channels, LEVELS
    ).double()  # integral values, but integer division is three times slower
    total = histogram.cumsum(dim=-1)
    below = total.where(total < total[..., -1:], 0).amax(dim=-1, keepdim=True)
    step = (below / (LEVELS - 1)).floor_()
    spread = ((total - histogram + (step / 2).floor_()) / step.clamp_min(1)).floor_().clamp_max_(LEVELS - 1)
    return truncate(spread.where(step > 0, _every_level(images, torch.float64)))


# Functions that return the lookup tables `[n, 1 or C, 256]` for images `[n, H, W, C]` and magnitudes m `[n, 1, 1]`.
TABLES = (_brightness, _contrast, _posterize, _solarize, _invert, _auto_contrast, _equalize)

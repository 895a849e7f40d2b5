"""Operations that give each grey level another: one table an image and channel, one look-up for all."""

from __future__ import annotations

import torch
from torch import Tensor

from .colour import grey

BRIGHTNESS, CONTRAST, POSTERIZE, SOLARIZE, INVERT, AUTO_CONTRAST, EQUALIZE = range(7)
LEVELS = 256


def map_levels(images: Tensor, magnitudes: Tensor, kinds: Tensor) -> Tensor:
    """Apply to each image the table of its operation.

    images: `[n, H, W, C]` uint8. magnitudes, kinds: `[n]` on the CPU.
    """
    count, _, _, channels = images.shape
    tables = torch.empty(count, channels, LEVELS, dtype=torch.uint8, device=images.device)
    levels = torch.arange(LEVELS, device=images.device, dtype=torch.float32)
    for kind in kinds.unique().tolist():
        which = (kinds == kind).nonzero().squeeze(1)
        where = which.to(images.device)
        m = magnitudes[which].to(images.device).view(-1, 1, 1)
        tables[where] = _tables(kind, levels, m, images, where).expand(len(which), channels, LEVELS)
    start = torch.arange(0, count * channels * LEVELS, LEVELS, device=images.device).view(count, 1, 1, channels)
    return tables.view(-1).take(images + start)


def _tables(kind: int, levels: Tensor, magnitude: Tensor, images: Tensor, where: Tensor) -> Tensor:
    """Tables of one kind, broadcastable to `[n, C, 256]`, uint8."""
    if kind == BRIGHTNESS:
        return _cut_off(levels * (1 + magnitude))
    if kind == CONTRAST:
        mean = grey(images.index_select(0, where)).mean(dim=(1, 2, 3)).view(-1, 1, 1)
        return _cut_off(levels * (1 + magnitude) - mean * magnitude)
    if kind == POSTERIZE:
        step = 2 ** (8 - magnitude.trunc())
        return _cut_off((levels / step).floor() * step)
    if kind == SOLARIZE:
        return _cut_off(torch.where(levels >= 255 * magnitude, 255 - levels, levels))
    if kind == INVERT:
        return _cut_off(255 - levels)
    some = images.index_select(0, where)
    return _auto_contrast(levels, some) if kind == AUTO_CONTRAST else _equalize(some)


def _auto_contrast(levels: Tensor, images: Tensor) -> Tensor:
    """The darkest level of each channel becomes 0 and the brightest 255; a channel of one level stays."""
    flat = images.flatten(1, 2)
    low, high = flat.amin(dim=1).float().unsqueeze(-1), flat.amax(dim=1).float().unsqueeze(-1)
    varies = high > low
    scale = ((high - low) * (1 / 255)).where(varies, 1.0)
    return _cut_off((levels - low.where(varies, 0.0)) / scale)


def _equalize(images: Tensor) -> Tensor:
    """Levels spread so that each is about equally frequent, by the rule of Pillow: pixels of the brightest level apart.

    A channel with too few pixels below its brightest level stays.
    """
    count, _, _, channels = images.shape
    start = torch.arange(0, count * channels * LEVELS, LEVELS, device=images.device).view(count, 1, 1, channels)
    histogram = torch.bincount((images + start).view(-1), minlength=count * channels * LEVELS)
    histogram = histogram.view(count, channels, LEVELS)
    total = histogram.cumsum(dim=-1)
    brightest = LEVELS - 1 - histogram.flip(-1).gt(0).int().argmax(dim=-1, keepdim=True)
    step = (total[..., -1:] - histogram.gather(-1, brightest)) // (LEVELS - 1)
    before = torch.cat([torch.zeros_like(total[..., :1]), total[..., :-1]], dim=-1)
    spread = ((before + step // 2) // step.clamp_min(1)).clamp_max(255)
    same = torch.arange(LEVELS, device=images.device).expand_as(spread)
    return torch.where(step > 0, spread, same).to(torch.uint8)


def _cut_off(levels: Tensor) -> Tensor:
    return levels.clamp(0, 255).to(torch.uint8)

"""Operations that give each grey level another: one table an image and channel, one look-up for all."""

from __future__ import annotations

import torch
from torch import Tensor

from .colour import grey
from .levels import cut_off

BRIGHTNESS, CONTRAST, POSTERIZE, SOLARIZE, INVERT, AUTO_CONTRAST, EQUALIZE = range(7)
LEVELS = 256


def map_levels(images: Tensor, magnitudes: Tensor, kinds: Tensor) -> Tensor:
    """Apply to each image the table of its operation.

    images: `[n, H, W, C]` uint8. magnitudes, kinds: `[n]` on the CPU.
    """
    count, height, width, channels = images.shape
    tables = _tables(magnitudes.to(images.device), kinds.to(images.device))
    tables = tables.unsqueeze(1).expand(count, channels, LEVELS).contiguous()
    for kind, make in ((CONTRAST, _contrast), (AUTO_CONTRAST, _auto_contrast), (EQUALIZE, _equalize)):
        which = (kinds == kind).nonzero().squeeze(1)
        if len(which):
            where = which.to(images.device)
            tables.index_copy_(0, where, make(images.index_select(0, where), magnitudes[which].to(images.device)))
    # Plane by plane: gathering from a row of 256 is three times faster than from all tables at once.
    planes = images.permute(0, 3, 1, 2).reshape(count * channels, -1).long()
    mapped = tables.view(count * channels, LEVELS).gather(1, planes)
    return mapped.view(count, channels, height, width).permute(0, 2, 3, 1).contiguous()


def _tables(magnitudes: Tensor, kinds: Tensor) -> Tensor:
    """Tables `[n, 256]` of the operations that need not look at the image; others get any.

    All kinds are made for all images and one is chosen: fewer calls than picking images out, and they are small.
    """
    levels = torch.arange(LEVELS, device=kinds.device, dtype=torch.float32)
    m, kind = magnitudes.unsqueeze(1), kinds.unsqueeze(1)
    step = 2 ** (8 - m.trunc())
    inverted = (255 - levels).expand(len(kinds), LEVELS)
    table = torch.where(kind == BRIGHTNESS, levels * (1 + m), inverted)
    table = torch.where(kind == POSTERIZE, (levels / step).floor_() * step, table)
    table = torch.where((kind == SOLARIZE) & (levels < 255 * m), levels, table)
    return cut_off(table.clamp_(0, 255))


def _contrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Away from the image's mean grey (above 0) or towards it."""
    m = magnitudes.view(-1, 1, 1)
    levels = torch.arange(LEVELS, device=images.device, dtype=torch.float32)
    mean = grey(images).mean(dim=(1, 2, 3)).view(-1, 1, 1)
    return cut_off((levels * (1 + m) - mean * m).clamp_(0, 255)).expand(-1, images.shape[-1], -1)


def _auto_contrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """The darkest level of each channel becomes 0 and the brightest 255; a channel of one level stays."""
    levels = torch.arange(LEVELS, device=images.device, dtype=torch.float32)
    flat = images.flatten(1, 2)
    low, high = flat.amin(dim=1).float().unsqueeze(-1), flat.amax(dim=1).float().unsqueeze(-1)
    varies = high > low
    scale = ((high - low) * (1 / 255)).where(varies, 1.0)
    return cut_off(((levels - low.where(varies, 0.0)) / scale).clamp_(0, 255))


def _equalize(images: Tensor, magnitudes: Tensor) -> Tensor:
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

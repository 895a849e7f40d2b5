"""A view as one model wants it: its own resolution, its own normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.types import Normalisation


@dataclass(frozen=True)
class InputFormat:
    """How a model takes its images.

    resolution: side in pixels (None: as they are). interpolation: `bilinear` or `bicubic`, antialiased.
    """

    normalisation: Normalisation
    resolution: int | None = None
    interpolation: str = "bilinear"


def prepare(images: Tensor, form: InputFormat, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 `[B, C, H, W]` to normalised `dtype`, channels last.

    The arithmetic is float32 and rounds once at the end, so that bfloat16 gets what autocast would make of
    float32 input. The result is shared by all models of equal format.
    """
    mean = torch.tensor(form.normalisation.mean, device=images.device)
    sd = torch.tensor(form.normalisation.sd, device=images.device)
    scale, shift = 1 / (255 * sd), -mean / sd
    size = form.resolution
    if size is not None and tuple(images.shape[-2:]) != (size, size):
        pixels = functional.interpolate(
            images.float(), size=(size, size), mode=form.interpolation, antialias=True, align_corners=False
        ).contiguous(memory_format=torch.channels_last)
    else:
        pixels = images
    batch, channels, height, width = pixels.shape
    # Rows of W·C values against a row of repeated factors: an inner loop of C = 3 does not vectorise.
    rows = pixels.permute(0, 2, 3, 1).reshape(batch * height, width * channels).float()
    rows = rows.mul_(scale.repeat(width)).add_(shift.repeat(width)).to(dtype)
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)

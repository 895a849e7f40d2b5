"""A view as one model wants it: its own resolution, its own normalisation."""

from __future__ import annotations

import functools
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
    float32 input. The result is shared by all models of equal format. Grey images become three equal channels for a
    model whose normalisation has three.
    """
    size = form.resolution
    if size is not None and tuple(images.shape[-2:]) != (size, size):
        pixels = functional.interpolate(
            images.float(), size=(size, size), mode=form.interpolation, antialias=True, align_corners=False
        ).contiguous(memory_format=torch.channels_last)
    else:
        pixels = images
    if pixels.shape[1] == 1 and len(form.normalisation.mean) == 3:
        pixels = pixels.expand(-1, 3, -1, -1)
    batch, channels, height, width = pixels.shape
    scale, shift = _factors(form.normalisation, width, images.device)
    rows = pixels.permute(0, 2, 3, 1).reshape(batch * height, width * channels).float()
    rows = rows.mul_(scale).add_(shift).to(dtype)
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=64)
def _factors(normalisation: Normalisation, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and shift of every value in a row of `width` pixels, `[W·C]` each; nobody may write to them.

    A whole row, because an inner loop over C = 3 values does not vectorise.
    """
    with torch.inference_mode(False):  # ordinary tensors, whoever asks first
        mean = torch.tensor(normalisation.mean, device=device)
        sd = torch.tensor(normalisation.sd, device=device)
        return (1 / (255 * sd)).repeat(width), (-mean / sd).repeat(width)

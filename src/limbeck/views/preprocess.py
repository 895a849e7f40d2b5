"""Convert a view to the resolution and normalisation that a model takes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.types import Normalisation


@dataclass(frozen=True)
class InputFormat:
    """The input that a model takes.

    resolution: side in pixels (None: no resizing). interpolation: `bilinear` or `bicubic`, antialiased.
    """

    normalisation: Normalisation
    resolution: int | None = None
    interpolation: str = "bilinear"


def prepare(images: Tensor, input_format: InputFormat, dtype: torch.dtype = torch.float32) -> Tensor:
    """Resize and normalise uint8 images `[B, C, H, W]`; returns `dtype`, channels last.

    The arithmetic is float32 and rounds once at the end, so bfloat16 input equals what autocast would make of float32
    input. All models with the same input format share the result. A grey image is repeated to three channels if the
    normalisation has three.
    """
    size = input_format.resolution
    if size is not None and tuple(images.shape[-2:]) != (size, size):
        pixels = functional.interpolate(
            images.float(), size=(size, size), mode=input_format.interpolation, antialias=True, align_corners=False
        ).contiguous(memory_format=torch.channels_last)
    else:
        pixels = images
    if pixels.shape[1] == 1 and len(input_format.normalisation.mean) == 3:
        pixels = pixels.expand(-1, 3, -1, -1)
    batch, channels, height, width = pixels.shape
    scale, shift = _factors(input_format.normalisation, width, images.device)
    rows = pixels.permute(0, 2, 3, 1).reshape(batch * height, width * channels).float()
    rows = rows.mul_(scale).add_(shift).to(dtype)
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=64)
def _factors(normalisation: Normalisation, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and shift of every value in a row of `width` pixels, `[W·C]` each. Callers must not modify them.

    They span a whole row because an inner loop over C = 3 values does not vectorise.
    """
    with torch.inference_mode(False):  # cached, so they must not be inference tensors
        mean = torch.tensor(normalisation.mean, device=device)
        sd = torch.tensor(normalisation.sd, device=device)
        return (1 / (255 * sd)).repeat(width), (-mean / sd).repeat(width)

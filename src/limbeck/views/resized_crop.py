"""Random resized crop: a part of the image, brought to the size of the whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .erasing import first_fit
from .levels import cut_off

CUBIC = -0.5  # Keys' coefficient, as in Pillow and torch where they antialias


@dataclass(frozen=True)
class ResizedCrop:
    """area: of the part, as a share of the image's. aspect: width / height. interpolation: `bilinear` or `bicubic`."""

    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"


def draw(crop: ResizedCrop, batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Windows `[B, 4]` int64: top, left, height, width (Szegedy et al. 2015, "Going Deeper with Convolutions").

    Of ten tries at area and log-uniform aspect the first that fits is taken; where none does, the largest window in
    the middle whose aspect is allowed.
    """
    low, high = crop.aspect
    windows = first_fit(batch, height, width, crop.area, (1 / high, 1 / low), generator, strict=False)
    tall, wide = height, width
    if width / height < low:
        tall = max(1, round(width / low))
    elif width / height > high:
        wide = max(1, round(height * high))
    middle = torch.tensor([(height - tall) // 2, (width - wide) // 2, tall, wide])
    return torch.where(windows[:, 2:3] > 0, windows, middle)


def apply(images: Tensor, windows: Tensor, crop: ResizedCrop) -> Tensor:
    """Each window of `[B, H, W, C]` uint8 images, resized to H × W with antialiasing.

    Resizing is linear and separable: one matrix for the rows and one for the columns of each image, applied to the
    whole batch at once.
    """
    batch, height, width, channels = images.shape
    top, left, tall, wide = windows.to(images.device).unbind(1)
    rows = _matrices(top, tall, height, crop.interpolation)  # [B, H, H]
    columns = _matrices(left, wide, width, crop.interpolation)  # [B, W, W]
    pixels = images.float().view(batch, height, width * channels)
    pixels = torch.bmm(rows, pixels).view(batch, height, width, channels)
    pixels = torch.matmul(columns.unsqueeze(1), pixels)
    return cut_off(pixels.add_(0.5).clamp_(0, 255))


def _matrices(start: Tensor, length: Tensor, size: int, interpolation: str) -> Tensor:
    """Weights `[B, size, size]` that make `size` pixels of the `length` pixels from `start` on."""
    scale = length.float() / size
    place = torch.arange(size, device=start.device)
    centres = (place + 0.5) * scale[:, None]  # of each new pixel, in old pixels within the window
    stretch = scale.clamp_min(1.0)[:, None, None]
    inside = place[None, :] - start[:, None]  # each old pixel's place within the window
    distance = (inside[:, None, :] + 0.5 - centres[:, :, None]) / stretch
    weights = _cubic(distance) if interpolation == "bicubic" else (1 - distance.abs()).clamp_min(0)
    weights = weights * ((inside >= 0) & (inside < length[:, None]))[:, None, :]
    return weights / weights.sum(dim=-1, keepdim=True)


def _cubic(distance: Tensor) -> Tensor:
    """Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing", equation 4."""
    x = distance.abs()
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))

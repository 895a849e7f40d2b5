"""Make a view: batched tensor operations on whatever device holds the images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.types import Split, Targets

from .plan import ViewPlan


class View(NamedTuple):
    """One batch as every model of a cohort sees it.

    images: `[B, C, H, W]` uint8, channels last. targets: their labels.
    """

    images: Tensor
    targets: Targets


def make_view(split: Split, plan: ViewPlan, padding: int) -> View:
    """Select, crop and flip. A pure function of the split and the plan."""
    device = split.images.device
    indices = plan.indices.to(device)
    images = split.images.permute(0, 2, 3, 1)[indices]  # [B, H, W, C], contiguous
    if plan.offsets is not None or plan.flips is not None:
        images = crop_flip(
            images,
            None if plan.offsets is None else plan.offsets.to(device) - padding,
            None if plan.flips is None else plan.flips.to(device),
        )
    labels = split.labels[indices]
    share = torch.ones(labels.shape[0], device=device)
    return View(images.permute(0, 3, 1, 2), Targets(labels, labels, share))


def crop_flip(images: Tensor, shifts: Tensor | None, flips: Tensor | None) -> Tensor:
    """Move each image and mirror it, both as one gather of whole pixels.

    images: `[B, H, W, C]` contiguous uint8. shifts: `[B, 2]`, the top-left corner of the crop relative to the
    image (negative: in the black border). flips: `[B]` bool. Returns `[B, H, W, C]` contiguous.

    Tried on 128 images of 32 px, one thread: padding and one gather of 3-byte pixels 0.72 ms; windows
    by unfold and advanced indexing 1.0 ms; two gathers along rows and columns 1.4 ms.
    """
    batch, height, width, channels = images.shape
    device = images.device
    rows = torch.arange(height, device=device).expand(batch, height)
    columns = torch.arange(width, device=device).expand(batch, width)
    if flips is not None:
        columns = torch.where(flips[:, None], columns.flip(1), columns)
    border = 0
    if shifts is not None:
        # One pixel of black on each side is enough: every place outside is clamped to it.
        border = 1
        images = torch.nn.functional.pad(images, (0, 0, 1, 1, 1, 1))
        rows = (rows + shifts[:, :1]).clamp_(-1, height) + 1
        columns = (columns + shifts[:, 1:]).clamp_(-1, width) + 1
    padded_height, padded_width = height + 2 * border, width + 2 * border
    first = torch.arange(batch, device=device)[:, None] * padded_height
    places = ((first + rows)[:, :, None] * padded_width + columns[:, None, :]).reshape(-1)
    return images.reshape(-1, channels).index_select(0, places).view(batch, height, width, channels)

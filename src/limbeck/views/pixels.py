"""Fast forms of two operations that several augmentations share."""

from __future__ import annotations

import torch
from torch import Tensor


def truncate(values: Tensor) -> Tensor:
    """Real numbers in [0, 256) to uint8, without their fractions.

    The detour over int32, for which torch has vector instructions, takes 0.06 ms for 400,000 numbers on one thread;
    a direct conversion to uint8 takes 0.2 ms.
    """
    return values.to(torch.int32).to(torch.uint8)


def replace_images(images: Tensor, which: Tensor, new: Tensor) -> Tensor:
    """A copy of `images` `[B, …]` in which `new` `[n, …]` replaces the images `which` `[n]` int64 (on the CPU).

    Gathers every image from one of the two tensors. Copying by index (`index_copy`, or an assignment) goes byte by
    byte: 0.12 ms for 50 images of 32 px on one thread, against 0.03 ms here.
    """
    source = torch.arange(len(images))
    source[which] = torch.arange(len(images), len(images) + len(which))
    return torch.cat([images, new]).index_select(0, source.to(images.device))

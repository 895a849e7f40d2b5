"""Fast versions of two operations that several augmentations use."""

from __future__ import annotations

import torch
from torch import Tensor


def truncate(values: Tensor) -> Tensor:
    """Convert floats in [0, 256) to uint8, rounding down.

    Going through int32, which torch vectorises, takes 0.06 ms for 400,000 numbers on one thread; direct conversion to
    uint8 takes 0.2 ms.
    """
    return values.to(torch.int32).to(torch.uint8)


def replace_images(images: Tensor, which: Tensor, new: Tensor) -> Tensor:
    """A copy of `images` `[B, …]` with the images at indices `which` replaced by `new` `[n, …]`.

    which: `[n]` int64, on the CPU.
    Gathers every image from one of the two tensors. Assignment by index (`index_copy`) copies byte by byte: 0.12 ms for
    50 images of 32 px on one thread, instead of 0.03 ms.
    """
    source = torch.arange(len(images))
    source[which] = torch.arange(len(images), len(images) + len(which))
    return torch.cat([images, new]).index_select(0, source.to(images.device))

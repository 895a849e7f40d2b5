"""One round of image operations: each image of a batch gets its own operation, and each kernel runs once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import colour, geometry, intensity

GEOMETRY = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
INTENSITY = ("brightness", "contrast", "posterize", "solarize", "invert", "auto_contrast", "equalize")
NAMES = ("identity", *GEOMETRY, *INTENSITY, "saturation", "sharpness")
KINDS = {name: number for number, name in enumerate(NAMES)}
KERNELS: tuple[tuple[tuple[str, ...], Callable[[Tensor, Tensor, Tensor], Tensor]], ...] = (
    (GEOMETRY, geometry.transform),
    (INTENSITY, intensity.apply_lookup_tables),
    (("saturation",), lambda images, magnitudes, kinds: colour.saturate(images, magnitudes)),
    (("sharpness",), lambda images, magnitudes, kinds: colour.sharpen(images, magnitudes)),
)
"""Groups of operations that one function applies together, in the order of `NAMES`."""
_BOUNDS = torch.tensor([*(KINDS[names[0]] for names, _ in KERNELS), len(NAMES)])


class Operations(NamedTuple):
    """The operation of each image of a view. Both tensors are on the CPU, so that grouping images never waits.

    kinds: `[B]` int64, indices into `NAMES`. magnitudes: `[B]` float32. The unit depends on the operation: slope of a
    shear; pixels to the right or down; degrees counter-clockwise; factor − 1 (brightness, contrast, saturation,
    sharpness); number of bits (posterize); threshold as a fraction of white (solarize). Other operations ignore it.
    """

    kinds: Tensor
    magnitudes: Tensor


def apply(images: Tensor, operations: Operations) -> Tensor:
    """Apply to each image its operation. images: `[B, H, W, C]` contiguous uint8, C = 3. Returns the same shape.

    The arithmetic matches torchvision's kernels for uint8 tensors: nearest-neighbour sampling, black outside the image,
    levels truncated. Images are sorted by kind, transformed group by group, and sorted back. Writing each group back
    with `index_copy_` is slower, because it copies byte by byte (0.12 ms for 50 images).
    """
    order = operations.kinds.argsort(stable=True)
    kinds, magnitudes = operations.kinds[order], operations.magnitudes[order]
    places = torch.searchsorted(kinds, _BOUNDS).tolist()
    images = images.index_select(0, order.to(images.device))
    changed = [images[: places[0]]]
    for (names, kernel), start, end in zip(KERNELS, places[:-1], places[1:], strict=True):
        if start < end:
            changed.append(kernel(images[start:end], magnitudes[start:end], kinds[start:end] - KINDS[names[0]]))
    return torch.cat(changed).index_select(0, order.argsort().to(images.device))

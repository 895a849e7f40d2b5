"""One round of image operations: each image of a batch gets its own, and each kernel runs once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from . import colour, geometry, tone

GEOMETRY = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
TONE = ("brightness", "contrast", "posterize", "solarize", "invert", "auto_contrast", "equalize")
NAMES = ("identity", *GEOMETRY, *TONE, "saturation", "sharpness")
KINDS = {name: number for number, name in enumerate(NAMES)}
KERNELS: tuple[tuple[tuple[str, ...], Callable[[Tensor, Tensor, Tensor], Tensor]], ...] = (
    (GEOMETRY, geometry.move),
    (TONE, tone.map_levels),
    (("saturation",), lambda images, magnitudes, kinds: colour.saturate(images, magnitudes)),
    (("sharpness",), lambda images, magnitudes, kinds: colour.sharpen(images, magnitudes)),
)
"""Operations that are done together, in the order of `NAMES`, and the function that does them."""


class Operations(NamedTuple):
    """What is done to each image of a view. Both live on the CPU, so that choosing images waits for no device.

    kinds: `[B]` int64, places in `NAMES`. magnitudes: `[B]` float32: the slope of a shear, pixels right or down,
    degrees counter-clockwise, what is added to a factor of 1 (brightness, contrast, saturation, sharpness), bits
    kept, or the threshold as a part of white. Operations without one do not look at it.
    """

    kinds: Tensor
    magnitudes: Tensor


def apply(images: Tensor, operations: Operations) -> Tensor:
    """Apply to each image its operation. images: `[B, H, W, C]` contiguous uint8, C = 3. Returns the same shape.

    The arithmetic is that of torchvision's kernels for uint8 tensors: nearest pixels, black outside, and fractions
    of a grey level cut off. Images of one group of kernels are picked out, changed together and put back.
    """
    result = images.clone()
    for names, kernel in KERNELS:
        first = KINDS[names[0]]
        which = ((operations.kinds >= first) & (operations.kinds < first + len(names))).nonzero().squeeze(1)
        if len(which):
            where = which.to(images.device)
            some = images.index_select(0, where)
            changed = kernel(some, operations.magnitudes[which], operations.kinds[which] - first)
            result.index_copy_(0, where, changed)
    return result

"""Strided 1×1 convolutions of few channels, whose backward pass damages memory on some processors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FEWEST_SAFE_CHANNELS = 8


class PointwiseBySlicing(TorchFunctionMode):
    """While it is on, a strided 1×1 convolution of fewer than 8 channels slices its input and takes stride 1.

    The arithmetic is the same. torch 2.13's backward pass of such a layer in float32 and channels-last memory writes
    past its buffers on processors without AVX-512 (seen with 2 to 6 input channels on an AMD EPYC: glibc aborts the
    process with "corrupted size vs. prev_size", or worse, does not). 1, 7, 8, 10 and more channels, and bfloat16, are
    fine. Enter it around the forward pass; the backward pass follows from what that recorded.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of each of its functions."""
        if func is torch.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    down, right = (stride, stride) if isinstance(stride, int) else (stride[0], stride[-1])
    pointwise = tuple(weight.shape[2:]) == (1, 1) and padding in (0, (0, 0), [0, 0], "valid")
    if pointwise and max(down, right) > 1 and weight.shape[1] < FEWEST_SAFE_CHANNELS and input.device.type == "cpu":
        return torch.conv2d(input[..., ::down, ::right], weight, bias, 1, 0, 1, groups)
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)  # pyright: ignore[reportCallIssue, reportArgumentType]

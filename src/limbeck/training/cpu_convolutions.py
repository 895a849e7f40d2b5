"""Workarounds for convolutions of torch's CPU library: one for speed, one against memory corruption.

Both are modes to enter around the forward pass; the backward pass follows from what that recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FEWEST_SAFE_CHANNELS = 16


class _Conv2dMode(TorchFunctionMode):
    """Calls `conv2d` of the subclass in place of `torch.conv2d`."""

    conv2d: Callable[..., Tensor]

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of each of its functions."""
        return (self.conv2d if func is torch.conv2d else func)(*args, **(kwargs or {}))


class DepthwiseInFloat32(_Conv2dMode):
    """Computes some depthwise convolutions in float32 and returns autocast's dtype.

    For those with a stride or a kernel larger than 3×3, torch's CPU library has a fast backward pass in float32 but
    only a plain loop in bfloat16: 3 to 70 times slower, and half or more of a step of the mobile nets. The forward
    pass alone is fast in either, so nothing changes without gradients, nor for any other convolution.
    """

    @staticmethod
    def conv2d(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        """`torch.conv2d`."""
        slow = _largest(stride) > 1 or _largest(weight.shape[2:]) > 3
        slow &= torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
        if not (slow and 1 < groups == input.shape[-3] and input.device.type == "cpu"):
            return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)  # pyright: ignore[reportCallIssue, reportArgumentType]
        dtype = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            tensors = input.float(), weight.float(), None if bias is None else bias.float()
            return torch.conv2d(*tensors, stride, padding, dilation, groups).to(dtype)  # pyright: ignore[reportCallIssue, reportArgumentType]


class PointwiseBySlicing(_Conv2dMode):
    """Slices the input of a strided 1×1 convolution with fewer than 16 input channels, and uses stride 1.

    The arithmetic is the same. torch 2.13's backward pass of such a layer in float32 and channels-last memory writes
    past its buffers on an AMD EPYC: glibc aborts the process with "double free or corruption", or worse, does not.
    Seen with 2 to 6 channels at 8 px, with 7 to 15 at 64 px, never with 16 and more up to 224 px, nor in bfloat16.
    """

    @staticmethod
    def conv2d(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        """`torch.conv2d`."""
        down, right = (stride, stride) if isinstance(stride, int) else (stride[0], stride[-1])
        pointwise = tuple(weight.shape[2:]) == (1, 1) and padding in (0, (0, 0), [0, 0], "valid")
        if pointwise and max(down, right) > 1 and weight.shape[1] < FEWEST_SAFE_CHANNELS and input.device.type == "cpu":
            return torch.conv2d(input[..., ::down, ::right], weight, bias, 1, 0, 1, groups)
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _largest(sizes: int | Sequence[int]) -> int:
    return sizes if isinstance(sizes, int) else max(sizes)

"""Depthwise convolutions that bfloat16 makes slow to learn on processors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class DepthwiseInFloat32(TorchFunctionMode):
    """While it is on, some depthwise convolutions compute in float32 and answer in the dtype of autocast.

    For those with a stride or a kernel larger than 3×3, torch's CPU library has a fast backward pass in float32 but
    only a plain loop in bfloat16: 3 to 70 times slower, and half or more of a step of the mobile nets. The forward
    pass alone is fast in either, so nothing changes where no gradient is asked for, nor for any other convolution.
    Enter it around the forward pass; the backward pass follows from what that recorded.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of each of its functions."""
        if func is torch.conv2d and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
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
    slow = _largest(stride) > 1 or _largest(weight.shape[2:]) > 3
    if not (slow and 1 < groups == input.shape[-3] and input.device.type == "cpu"):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)  # pyright: ignore[reportCallIssue, reportArgumentType]
    dtype = torch.get_autocast_dtype("cpu")
    with torch.autocast("cpu", enabled=False):
        parts = input.float(), weight.float(), None if bias is None else bias.float()
        return torch.conv2d(*parts, stride, padding, dilation, groups).to(dtype)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _largest(sizes: int | Sequence[int]) -> int:
    return sizes if isinstance(sizes, int) else max(sizes)

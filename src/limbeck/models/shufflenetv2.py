"""ShuffleNetV2 for 32-pixel images.

Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design" (2018), table 5, with a stem of
stride 1 and without the max-pool after it, as in the public CIFAR checkpoints. A 32-pixel image ends at 4×4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.types import Outputs

from .blocks import conv_bn_relu, stage_outputs
from .inverted_residual import conv_norm

STEM = 24
BLOCKS = (4, 8, 4)
CHANNELS = {  # width: three stages, last 1×1 convolution
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


def interleave(left: Tensor, right: Tensor) -> Tensor:
    """Interleave the channels of two feature maps `[B, C, H, W]` to `[B, 2 C, H, W]`.

    Equivalent to concatenation and a channel shuffle of two groups. The result is channels last, as the next
    convolution expects it.
    """
    both = torch.stack((left.permute(0, 2, 3, 1), right.permute(0, 2, 3, 1)), dim=-1)
    return both.flatten(3).permute(0, 3, 1, 2)


def _path(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """1×1, depthwise 3×3, 1×1; no activation after the depthwise convolution."""
    return nn.Sequential(
        conv_norm(inputs, outputs, activation=nn.ReLU),
        conv_norm(outputs, outputs, kernel=3, stride=stride, groups=outputs),
        conv_norm(outputs, outputs, activation=nn.ReLU),
    )


class Unit(nn.Module):
    """Half of the channels pass unchanged and half through three convolutions; then they are shuffled (figure 3c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.path = _path(channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` to the same."""
        left, right = x.chunk(2, dim=1)
        return interleave(left, self.path(right))


class DownUnit(nn.Module):
    """Two branches, each from all channels, at half the resolution (figure 3d)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.short = nn.Sequential(
            conv_norm(inputs, inputs, kernel=3, stride=2, groups=inputs),
            conv_norm(inputs, half, activation=nn.ReLU),
        )
        self.path = _path(inputs, half, 2)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` to `[B, outputs, H / 2, W / 2]`."""
        return interleave(self.short(x), self.path(x))


class ShuffleNetV2(nn.Module):
    """A 3×3 stem of 24 channels, three stages of units and a 1×1 convolution."""

    def __init__(self, num_classes: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        stages: list[nn.Module] = [conv_bn_relu(3, STEM)]
        inputs = STEM
        for outputs, blocks in zip(widths, BLOCKS, strict=False):
            stages.append(nn.Sequential(DownUnit(inputs, outputs), *(Unit(outputs) for _ in range(blocks - 1))))
            inputs = outputs
        stages[-1] = nn.Sequential(stages[-1], conv_norm(inputs, widths[-1], activation=nn.ReLU))
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the outputs of stem, two stages and last convolution."""
        features = stage_outputs(self.stages, images)
        return Outputs(self.head(features[-1].mean((2, 3))), tuple(features))


def build(num_classes: int, *, width: float = 1.0) -> ShuffleNetV2:
    """ShuffleNetV2 for small images, widths 0.5, 1, 1.5 and 2.

    At 100 classes and width 1, 1.36M parameters and 45.09M multiply-adds. Weights have PyTorch's default
    initialisation.

    width: column of the paper's table of channels.

    Raises LimbeckError for a width that is not in the table.
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or width not in CHANNELS:
        raise LimbeckError(f"width: expected one of {', '.join(map(str, CHANNELS))}; got {width!r}")
    return ShuffleNetV2(num_classes, CHANNELS[width])


def candidates() -> list[dict[str, Any]]:
    """Widths for `limbeck fit`: those of the paper's table."""
    return [{"width": width} for width in CHANNELS]

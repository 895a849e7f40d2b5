"""The ResNets for 32-pixel images that the distillation literature uses.

He et al., "Deep Residual Learning for Image Recognition" (2015), section 4.2, with a 1×1 convolution in shortcuts that
change the width. This is the variant with the parameter counts of the distillation literature. resnet8x4 and
resnet32x4 are four times as wide in every stage, with a stem of 32 channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import LimbeckError
from limbeck.types import Outputs

from .blocks import conv_bn_relu, initialise_kaiming, stage_outputs
from .options import count, counts

SIZES = {
    "resnet20": {"depth": 20},
    "resnet32": {"depth": 32},
    "resnet44": {"depth": 44},
    "resnet56": {"depth": 56},
    "resnet110": {"depth": 110},
    "resnet8x4": {"depth": 8, "stem": 32, "widths": (64, 128, 256)},
    "resnet32x4": {"depth": 32, "stem": 32, "widths": (64, 128, 256)},
}


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut: the identity, or a 1×1 convolution if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(inputs, outputs, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` to `[B, outputs, H / stride, W / stride]`."""
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(nn.Module):
    """A 3×3 stem and three stages of residual blocks, at full, half and quarter resolution."""

    def __init__(self, num_classes: int, blocks: int, stem: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = conv_bn_relu(3, stem)
        stages = []
        inputs = stem
        for stage, outputs in enumerate(widths):
            stride = 1 if stage == 0 else 2
            first = BasicBlock(inputs, outputs, stride)
            stages.append(nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1))))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(inputs, num_classes)
        initialise_kaiming(self)

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the outputs of the three stages."""
        features = stage_outputs(self.stages, self.stem(images))
        return Outputs(self.head(features[-1].mean((2, 3))), tuple(features))


def build(num_classes: int, *, depth: int = 20, stem: int = 16, widths: Sequence[int] = (16, 32, 64)) -> ResNet:
    """ResNet for small images.

    depth: number of layers with weights on the longest path, 6 n + 2: 8, 14, 20, …
    stem: number of channels of the first convolution.
    widths: numbers of channels of the three stages.

    Raises LimbeckError for a depth that is not 6 n + 2.
    """
    if count("depth", depth) < 8 or (depth - 2) % 6:
        raise LimbeckError(f"depth: expected 6 n + 2 (8, 14, 20, 26, 32, …); got {depth}")
    return ResNet(num_classes, (depth - 2) // 6, count("stem", stem), counts("widths", widths, 3))


def candidates() -> list[dict[str, Any]]:
    """Depths and widths for `limbeck fit`; the stages double in width, as published."""
    return [
        {"depth": depth, "stem": min(width, 32), "widths": (width, 2 * width, 4 * width)}
        for depth in (8, 14, 20, 32, 44, 56, 110)
        for width in (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
    ]

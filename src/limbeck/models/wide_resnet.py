"""Wide ResNets: Zagoruyko and Komodakis, "Wide Residual Networks" (2016)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import LimbeckError
from limbeck.types import Outputs

from .blocks import initialise_kaiming, stage_outputs
from .options import count, probability

SIZES = {
    "wrn_16_2": {"depth": 16, "widen": 2},
    "wrn_40_1": {"depth": 40, "widen": 1},
    "wrn_40_2": {"depth": 40, "widen": 2},
    "wrn_28_10": {"depth": 28, "widen": 10},
}


class PreActivationBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3×3 convolutions; a 1×1 shortcut shares the first BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` to `[B, outputs, H / stride, W / stride]`."""
        active = functional.relu(self.norm1(x))
        y = self.conv2(self.dropout(functional.relu(self.norm2(self.conv1(active)))))
        return y + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """A 3×3 stem of 16 channels and three stages of 16, 32 and 64 times the widening factor."""

    def __init__(self, num_classes: int, blocks: int, widen: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        stages = []
        inputs = 16
        for stage in range(3):
            outputs = 16 * 2**stage * widen
            first = PreActivationBlock(inputs, outputs, 1 if stage == 0 else 2, dropout)
            rest = [PreActivationBlock(outputs, outputs, 1, dropout) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.norm = nn.BatchNorm2d(inputs)
        self.head = nn.Linear(inputs, num_classes)
        initialise_kaiming(self)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the outputs of the three stages, the last after BatchNorm and ReLU."""
        features = stage_outputs(self.stages, self.stem(images))
        features[-1] = functional.relu(self.norm(features[-1]))
        return Outputs(self.head(features[-1].mean((2, 3))), tuple(features))


def build(num_classes: int, *, depth: int = 16, widen: int = 2, dropout: float = 0.0) -> WideResNet:
    """Wide ResNet for small images.

    depth: number of layers with weights on the longest path, 6 n + 4: 10, 16, 22, …
    widen: factor on the widths 16, 32, 64.
    dropout: dropout probability between the two convolutions of a block.

    Raises LimbeckError for a depth that is not 6 n + 4.
    """
    if count("depth", depth) < 10 or (depth - 4) % 6:
        raise LimbeckError(f"depth: expected 6 n + 4 (10, 16, 22, 28, 40, …); got {depth}")
    return WideResNet(num_classes, (depth - 4) // 6, count("widen", widen), probability("dropout", dropout))


def candidates() -> list[dict[str, Any]]:
    """Depths and widening factors for `limbeck fit`."""
    return [
        {"depth": depth, "widen": widen} for depth in (10, 16, 22, 28, 40) for widen in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
    ]

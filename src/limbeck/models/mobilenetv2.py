"""MobileNetV2 for 32-pixel images.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), table 2, without the first two strides
(stem and second group of blocks), as in the public CIFAR checkpoints. A 32-pixel image ends at 4×4.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.types import Outputs

from .blocks import stage_outputs
from .initialisation import initialise_with_small_head
from .inverted_residual import InvertedResidual, conv_norm, relu6, round_channels
from .options import probability

STEM, LAST = 32, 1280
GROUPS = (  # one tuple per resolution; a group is (expansion, channels, blocks)
    ((1, 16, 1), (6, 24, 2)),
    ((6, 32, 3),),
    ((6, 64, 4), (6, 96, 3)),
    ((6, 160, 3), (6, 320, 1)),
)


class MobileNetV2(nn.Module):
    """A 3×3 stem, 17 inverted residuals at four resolutions and a 1×1 convolution."""

    def __init__(self, num_classes: int, width: float, dropout: float) -> None:
        super().__init__()
        inputs = round_channels(STEM * width)
        layers: list[nn.Module] = [conv_norm(3, inputs, kernel=3, activation=relu6)]
        stages = []
        for resolution, groups in enumerate(GROUPS):
            stride = 1 if resolution == 0 else 2
            for expansion, channels, blocks in groups:
                outputs = round_channels(channels * width)
                for _ in range(blocks):
                    layers.append(InvertedResidual(inputs, inputs * expansion, outputs, stride=stride))
                    inputs, stride = outputs, 1
            stages.append(layers)
            layers = []
        last = round_channels(LAST * max(1.0, width))
        stages[-1].append(conv_norm(inputs, last, activation=relu6))
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        initialise_with_small_head(self)

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the last output at each of the four resolutions."""
        features = stage_outputs(self.stages, images)
        return Outputs(self.head(features[-1].mean((2, 3))), tuple(features))


def build(num_classes: int, *, width: float = 1.0, dropout: float = 0.2) -> MobileNetV2:
    """MobileNetV2 for small images, any width.

    At 100 classes and width 0.75, 1.48M parameters and 59.43M multiply-adds.

    width: factor on the channels, which are rounded to multiples of 8. The last 1×1 convolution has at least 1,280
        channels; below a width of 1, most parameters are in it and in the linear layer.
    dropout: dropout probability of the pooled features before the linear layer.

    Raises LimbeckError for a width that is not a positive number.
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= 16:
        raise LimbeckError(f"width: expected a number greater than 0, at most 16; got {width!r}")
    return MobileNetV2(num_classes, width, probability("dropout", dropout))


def candidates() -> list[dict[str, Any]]:
    """Widths for `limbeck fit`."""
    widths = (0.1, 0.2, 0.25, 0.35, 0.5, 0.6, 0.75, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0)
    return [{"width": width} for width in widths]

"""MobileNetV3-small: Howard et al., "Searching for MobileNetV3" (2019), table 2."""

from __future__ import annotations

import functools

from torch import Tensor, nn

from limbeck.types import Outputs

from .blocks import stage_outputs
from .initialisation import initialise_with_small_head
from .inverted_residual import InvertedResidual, Layer, conv_norm
from .options import choice, probability

STEM, LAST, HIDDEN = 16, 576, 1024
HARD_SWISH = functools.partial(nn.Hardswish, inplace=True)
RELU = functools.partial(nn.ReLU, inplace=True)
# A stage begins with its stride of 2. A block is (kernel, expanded channels, channels, squeeze, activation).
STAGES: tuple[tuple[tuple[int, int, int, bool, Layer], ...], ...] = (
    ((3, 16, 16, True, RELU),),
    ((3, 72, 24, False, RELU), (3, 88, 24, False, RELU)),
    (
        (5, 96, 40, True, HARD_SWISH),
        (5, 240, 40, True, HARD_SWISH),
        (5, 240, 40, True, HARD_SWISH),
        (5, 120, 48, True, HARD_SWISH),
        (5, 144, 48, True, HARD_SWISH),
    ),
    ((5, 288, 96, True, HARD_SWISH), (5, 576, 96, True, HARD_SWISH), (5, 576, 96, True, HARD_SWISH)),
)
NORM = functools.partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


class MobileNetV3Small(nn.Module):
    """A 3×3 stem, eleven inverted residuals in four stages, a 1×1 convolution and two linear layers."""

    def __init__(self, num_classes: int, first_stride: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(3, STEM, kernel=3, stride=first_stride, norm=NORM, activation=HARD_SWISH)]
        stages = []
        inputs = STEM
        for number, blocks in enumerate(STAGES):
            stride = 2 if number else first_stride
            for kernel, expanded, outputs, squeeze, activation in blocks:
                layers.append(
                    InvertedResidual(
                        inputs, expanded, outputs,
                        kernel=kernel, stride=stride, squeeze=squeeze, norm=NORM, activation=activation,
                    )
                )  # fmt: skip
                inputs, stride = outputs, 1
            stages.append(layers)
            layers = []
        stages[-1].append(conv_norm(inputs, LAST, norm=NORM, activation=HARD_SWISH))
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        self.head = nn.Sequential(
            nn.Linear(LAST, HIDDEN), HARD_SWISH(), nn.Dropout(dropout), nn.Linear(HIDDEN, num_classes)
        )
        initialise_with_small_head(self)

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the outputs of the four stages (16, 24, 48, 576 channels)."""
        features = stage_outputs(self.stages, images)
        return Outputs(self.head(features[-1].mean((2, 3))), tuple(features))


def build(num_classes: int, *, stem: str = "cifar", dropout: float = 0.2) -> MobileNetV3Small:
    """MobileNetV3-small for small images, or as published for ImageNet.

    At 100 classes 1.62M parameters (1.61M without biases, as some papers count).

    stem: `cifar` removes the stride of 2 from the stem and the first block, so that a 32-pixel image ends at 4×4
        (17.60M multiply-adds); with `imagenet` it ends at 1×1 (2.26M).
    dropout: dropout probability of the 1,024 hidden features before the last layer.

    As published, the running averages of BatchNorm change slowly (1 % per step), so they need about 300 steps to match
    the training images.
    """
    first_stride = {"cifar": 1, "imagenet": 2}[choice("stem", stem, ("cifar", "imagenet"))]
    return MobileNetV3Small(num_classes, first_stride, probability("dropout", dropout))

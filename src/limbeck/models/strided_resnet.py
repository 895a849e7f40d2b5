"""The teacher of the published CIFAR-10 system, similar to a ResNet-18 without shortcuts."""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.types import Outputs

from .blocks import conv_bn_relu, stage_outputs


class StridedResNet(nn.Module):
    """A 7×7/2 stem, max-pool and three stages of two convolutions; a 32-pixel image ends at 2×2."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *conv_bn_relu(3, 64, kernel=7, stride=2, bias=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages = [
            nn.Sequential(
                conv_bn_relu(inputs, outputs, stride=stride, bias=True),
                conv_bn_relu(outputs, outputs, bias=True),
            )
            for inputs, outputs, stride in ((64, 128, 1), (128, 256, 2), (256, 512, 2))
        ]
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(512, num_classes)

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the outputs of the three stages (128, 256, 512 channels)."""
        features = stage_outputs(self.stages, self.stem(images))
        return Outputs(self.head(features[-1].mean((2, 3))), tuple(features))


def build(num_classes: int) -> StridedResNet:
    """Plain CNN similar to a ResNet-18 without shortcuts, the published CIFAR-10 teacher (4.66M).

    4,664,970 parameters at 10 classes. Convolutions have a bias; weights have PyTorch's default initialisation.
    """
    return StridedResNet(num_classes)

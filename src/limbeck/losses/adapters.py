"""Adapters from a feature map of the student to one of the teacher."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

Size = tuple[int, int, int]
"""Channels, height, width."""


class ToSize(nn.Module):
    """A map at another height and width: average pooling where it shrinks, bilinear interpolation where it grows."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, C, height, width]`."""
        size = (self.height, self.width)
        if self.height <= x.shape[2] and self.width <= x.shape[3]:
            return functional.adaptive_avg_pool2d(x, size)
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def map_adapter(student: Size, teacher: Size) -> nn.Module:
    """A convolution to the teacher's channels and size, then BatchNorm; the forms are those of FitNets' regressor."""
    (inputs, height, width), (outputs, wanted_height, wanted_width) = student, teacher
    size, wanted = (height, width), (wanted_height, wanted_width)
    layers: list[nn.Module]
    if size == (2 * wanted_height, 2 * wanted_width):
        layers = [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)]
    elif wanted == (2 * height, 2 * width):
        layers = [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)]
    else:
        layers = [nn.Conv2d(inputs, outputs, 1)]
        if size != wanted:
            layers.append(ToSize(wanted_height, wanted_width))
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs))

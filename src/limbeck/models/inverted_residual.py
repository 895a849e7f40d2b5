"""The inverted residual block of MobileNetV2 and MobileNetV3."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from torch import Tensor, nn

Layer = Callable[..., nn.Module]
relu6 = functools.partial(nn.ReLU6, inplace=True)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and never less than nine tenths of `channels`."""
    nearest = max(8, 8 * math.floor(channels / 8 + 0.5))
    return nearest if nearest >= 0.9 * channels else nearest + 8


def conv_norm(
    inputs: int,
    outputs: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    norm: Layer = nn.BatchNorm2d,
    activation: Layer | None = None,
) -> nn.Sequential:
    """Convolution and BatchNorm, then `activation()` if there is one."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, norm(outputs), *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation: scale each channel by a factor in [0, 1], computed from the means of all channels.

    Hu et al., "Squeeze-and-Excitation Networks" (2018), with the hard sigmoid and the rounded quarter width of
    MobileNetV3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = round_channels(channels / 4)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.ReLU(inplace=True), nn.Conv2d(inner, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` to the same."""
        return x * self.gate(x.mean((2, 3), keepdim=True))


class InvertedResidual(nn.Module):
    """1×1 convolution to `expanded` channels (omitted if equal to `inputs`), depthwise convolution, linear 1×1.

    With an identity shortcut if the shape does not change. Sandler et al., "MobileNetV2: Inverted Residuals and Linear
    Bottlenecks" (2018), figure 4d; with squeeze-and-excitation: Howard et al. (2019), figure 4.
    """

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        squeeze: bool = False,
        norm: Layer = nn.BatchNorm2d,
        activation: Layer = relu6,
    ) -> None:
        super().__init__()
        self.identity = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(conv_norm(inputs, expanded, norm=norm, activation=activation))
        layers.append(
            conv_norm(
                expanded, expanded, kernel=kernel, stride=stride, groups=expanded, norm=norm, activation=activation
            )
        )
        if squeeze:
            layers.append(SqueezeExcitation(expanded))
        self.path = nn.Sequential(*layers, conv_norm(expanded, outputs, norm=norm))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` to `[B, outputs, H / stride, W / stride]`."""
        return x + self.path(x) if self.identity else self.path(x)

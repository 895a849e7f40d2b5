"""Building blocks shared by several families of convolutional networks."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


def conv_bn_relu(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, bias: bool = False) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU: `[B, inputs, H, W]` to `[B, outputs, H/stride, W/stride]`."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def stage_outputs(stages: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """The output of each stage, shallow to deep, where each stage takes the output of the previous one."""
    outputs = []
    for stage in stages:
        x = stage(x)
        outputs.append(x)
    return outputs


def initialise_kaiming(model: nn.Module) -> None:
    """Initialise convolutions with normal weights of variance 2 / (kernel area × output channels), BatchNorm with 1
    and 0.

    He et al., "Delving Deep into Rectifiers" (2015), equation 14; the usual initialisation of CIFAR ResNets and wide
    ResNets.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

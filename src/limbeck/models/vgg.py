"""VGG with BatchNorm for 32-pixel images.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015), table 1. Papers use
two versions under the same name; the option `head` chooses one:

- `hidden`: five max-pools, so that a 32-pixel image ends at 1×1, then two hidden layers of 512 with dropout. Used by
  the public CIFAR checkpoints; at 100 classes vgg11_bn has 9.80M parameters and 153.34M multiply-adds.
- `linear`: no max-pool after the fourth and fifth stage (4×4 at the end), average pooling and one linear layer. Used by
  the distillation literature; at 100 classes vgg8 has 3.97M parameters and vgg13 9.46M. vgg8, which the paper does not
  have, exists only in this version.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import LimbeckError
from limbeck.types import Outputs

from .blocks import conv_bn_relu
from .initialisation import initialise_with_small_head
from .options import choice, count, probability

SIZES = {
    "vgg8_bn": {"depth": 8, "head": "linear"},
    "vgg11_bn": {"depth": 11},
    "vgg13_bn": {"depth": 13},
    "vgg16_bn": {"depth": 16},
    "vgg19_bn": {"depth": 19},
}
CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
HIDDEN = 512


class VGG(nn.Module):
    """Five stages of 3×3 convolutions with max-pools between them."""

    def __init__(self, num_classes: int, convolutions: Sequence[int], hidden: bool, dropout: float) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv_bn_relu(inputs, outputs, bias=True),
                *(conv_bn_relu(outputs, outputs, bias=True) for _ in range(number - 1)),
            )
            for (inputs, outputs), number in zip(itertools.pairwise((3, *WIDTHS)), convolutions, strict=True)
        )
        self.pools = (1, 2, 3, 4, 5) if hidden else (1, 2, 3)
        layers = [nn.Linear(WIDTHS[-1], num_classes)]
        if hidden:
            layers = [*_hidden(WIDTHS[-1], dropout), *_hidden(HIDDEN, dropout), nn.Linear(HIDDEN, num_classes)]
        self.head = nn.Sequential(*layers)
        initialise_with_small_head(self)

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the outputs of the five stages, each before its max-pool."""
        x = images
        features = []
        for number, stage in enumerate(self.stages, 1):
            x = stage(x)
            features.append(x)
            if number in self.pools:
                x = functional.max_pool2d(x, 2, ceil_mode=True)  # a side of 1 stays 1, so small images work too
        return Outputs(self.head(x.mean((2, 3))), tuple(features))


def _hidden(inputs: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, HIDDEN), nn.ReLU(inplace=True), nn.Dropout(dropout)


def build(num_classes: int, *, depth: int = 11, head: str = "hidden", dropout: float = 0.5) -> VGG:
    """VGG with BatchNorm for small images.

    depth: 8, 11, 13, 16 or 19, the number of convolutions and linear layers of the ImageNet network.
    head: `hidden`, as in the public CIFAR checkpoints (five max-pools, two hidden layers), or `linear`, as in the
        distillation literature (three max-pools, no hidden layer).
    dropout: dropout probability after each of the two hidden layers; `linear` has none.

    Raises LimbeckError for another depth or head.
    """
    if count("depth", depth) not in CONVOLUTIONS:
        raise LimbeckError(f"depth: expected one of {', '.join(map(str, CONVOLUTIONS))}; got {depth}")
    hidden = choice("head", head, ("hidden", "linear")) == "hidden"
    return VGG(num_classes, CONVOLUTIONS[depth], hidden, probability("dropout", dropout))


def candidates() -> list[dict[str, Any]]:
    """Depths for `limbeck fit`, each with the head with which it is used."""
    return [dict(size) for size in SIZES.values()]

"""Plain stacks of 3×3 convolutions: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
Image Recognition" (2015), table 1, with BatchNorm, for 32-pixel images.

Two versions are in use, and papers print either's numbers under one name; the option `head` says which:

- `hidden`: five max-pools, so that a 32-pixel image ends at 1×1, then two hidden layers of 512 with dropout. The public
  CIFAR checkpoints; at 100 classes vgg11_bn has 9.80M parameters and 153.34M multiply-adds.
- `linear`: no max-pool after the fourth stage nor the fifth (4×4 at the end), average pooling, one linear layer. The
  distillation tables; at 100 classes vgg8 has 3.97M parameters and vgg13 9.46M. vgg8 exists only so: the paper has
  none of that depth.
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
from .options import choice, count, share

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
                x = functional.max_pool2d(x, 2, ceil_mode=True)  # a side of 1 stays: small images are answered too
        return Outputs(self.head(x.mean((2, 3))), tuple(features))


def _hidden(inputs: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, HIDDEN), nn.ReLU(inplace=True), nn.Dropout(dropout)


def build(num_classes: int, *, depth: int = 11, head: str = "hidden", dropout: float = 0.5) -> VGG:
    """Plain stack of 3×3 convolutions with BatchNorm, for small images.

    depth: 8, 11, 13, 16 or 19: convolutions and linear layers of the ImageNet net.
    head: `hidden`, as in the public CIFAR checkpoints, or `linear`, as in the distillation tables; see the
        module's description, since the pooling changes with it.
    dropout: share dropped after each of the two hidden layers; `linear` has none.

    Raises LimbeckError for another depth or head.
    """
    if count("depth", depth) not in CONVOLUTIONS:
        raise LimbeckError(f"depth: {depth} is not one of {', '.join(map(str, CONVOLUTIONS))}")
    hidden = choice("head", head, ("hidden", "linear")) == "hidden"
    return VGG(num_classes, CONVOLUTIONS[depth], hidden, share("dropout", dropout))


def candidates() -> list[dict[str, Any]]:
    """Depths for `limbeck fit`, each with the head with which it is used."""
    return [dict(size) for size in SIZES.values()]

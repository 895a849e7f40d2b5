"""The student of the published CIFAR-10 system."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional

from limbeck.types import Outputs

from .blocks import conv_bn_relu
from .options import probability

WIDTHS = (16, 32, 64, 128)
HIDDEN = 64


class LightweightCNN(nn.Module):
    """Four convolutions, a max-pool after each of the first three, and two linear layers."""

    def __init__(self, num_classes: int, dropout: float, hidden_dropout: float) -> None:
        super().__init__()
        self.stages = nn.ModuleList(conv_bn_relu(a, b, bias=True) for a, b in itertools.pairwise((3, *WIDTHS)))
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(WIDTHS[-1], HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(hidden_dropout),
            nn.Linear(HIDDEN, num_classes),
        )

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the outputs of the four convolutions, each before its max-pool."""
        x = images
        features = []
        for stage in self.stages:
            if features:
                x = functional.max_pool2d(x, 2)
            x = stage(x)
            features.append(x)
        return Outputs(self.head(x.mean((2, 3))), tuple(features))


def build(num_classes: int, *, dropout: float = 0.5, hidden_dropout: float = 0.3) -> LightweightCNN:
    """Four-convolution CNN for small devices, the published CIFAR-10 student (107K).

    106,826 parameters at 10 classes. Convolutions have a bias; weights have PyTorch's default initialisation.

    dropout: dropout probability of the 128 pooled features before the first linear layer.
    hidden_dropout: dropout probability of the 64 hidden features before the last one. The published system uses
        both; with 15 epochs the network underfits and learns more with both at 0.
    """
    return LightweightCNN(num_classes, probability("dropout", dropout), probability("hidden_dropout", hidden_dropout))

"""A CNN for fast training, with the common features of CIFAR speed-run records.

Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024), section 3: a small whitening stem set from
the data, few wide convolutions initialised to the identity, early pooling and a scaled-down head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.types import Outputs

from .options import choice, counts

ACTIVATIONS = {"silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU}
PATCH = 2
PATCH_SIZE = 3 * PATCH * PATCH
SMALLEST_VARIANCE = 5e-4  # limits the amplification of noise in nearly constant directions
HEAD_SCALE = 0.125


class SpeedCNN(nn.Module):
    """Whitening stem, three stages of convolution, max-pool and convolution, global max-pool, scaled linear head."""

    def __init__(
        self, num_classes: int, widths: Sequence[int], activation: str, train_whitening: bool, dirac: bool
    ) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        self.whitening = nn.Conv2d(3, 2 * PATCH_SIZE, PATCH)
        self.whitening.weight.requires_grad_(train_whitening)
        nn.init.zeros_(self.whitening.bias)  # pyright: ignore[reportArgumentType]
        self.activation = act()
        stages = []
        inputs = 2 * PATCH_SIZE
        for outputs in widths:
            stages.append(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.MaxPool2d(2),  # before normalisation and activation, which then cost a quarter
                    nn.BatchNorm2d(outputs),
                    act(),
                    nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    act(),
                )
            )
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(inputs, num_classes, bias=False)
        if dirac:
            for stage in stages:
                for module in stage:
                    if isinstance(module, nn.Conv2d):
                        passed = min(module.in_channels, module.out_channels)
                        nn.init.dirac_(module.weight.data[:passed])

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Set the stem so that its outputs on the images' 2×2 patches are uncorrelated and have variance 1.

        images: `[N, 3, H, W]`, a few thousand training images, normalised as the model will see them.
        The 12 filters are the eigenvectors of the covariance of the patches, divided by the square root of their
        eigenvalues, in descending order. Their negatives follow, so that a one-sided activation preserves both signs.
        """
        eigenvalues, eigenvectors = torch.linalg.eigh(patch_covariance(images))
        filters = (eigenvectors / (eigenvalues.clamp_min(0) + SMALLEST_VARIANCE).sqrt()).flip(1).T
        largest = filters.gather(1, filters.abs().argmax(1, keepdim=True))
        filters = filters * largest.sign()  # the sign of an eigenvector is arbitrary, so it is fixed here
        filters = filters.reshape(-1, 3, PATCH, PATCH)
        self.whitening.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` (at least 17 pixels a side) to logits and the outputs of the three stages."""
        x = self.activation(self.whitening(images))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return Outputs(self.head(x.amax((2, 3))) * HEAD_SCALE, tuple(features))


def patch_covariance(images: Tensor) -> Tensor:
    """Covariance `[12, 12]` (float64) of all 2×2 patches of `[N, 3, H, W]`, in the order of a filter's weights."""
    total = torch.zeros(PATCH_SIZE, dtype=torch.float64)
    products = torch.zeros(PATCH_SIZE, PATCH_SIZE, dtype=torch.float64)
    number = 0
    for part in images.split(256):  # all patches of a few thousand images at once would need a gigabyte
        patches = part.cpu().double().unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # [n, 3, H-1, W-1, 2, 2]
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, PATCH_SIZE)
        total += flat.sum(0)
        products += flat.T @ flat
        number += len(flat)
    mean = total / number
    return products / number - mean.outer(mean)


def build(
    num_classes: int,
    *,
    widths: Sequence[int] = (64, 256, 256),
    activation: str = "silu",
    train_whitening: bool = False,
    dirac: bool = True,
) -> SpeedCNN:
    """CNN that trains in minutes, a good teacher for small images (1.97M).

    1,972,792 parameters at 10 classes; 118M multiply-adds at 32 pixels.

    widths: numbers of channels of the three stages.
    activation: silu, gelu or relu.
    train_whitening: whether the filters of the stem are trained after `initialise` has set them from the data.
    dirac: whether the convolutions of the stages are initialised to the identity.
    """
    return SpeedCNN(
        num_classes,
        counts("widths", widths, 3),
        choice("activation", activation, ACTIVATIONS),
        train_whitening,
        dirac,
    )


def candidates() -> list[dict[str, Any]]:
    """Widths for `limbeck fit`, in the proportions of the default."""
    firsts = (4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256)
    return [{"widths": (first, 4 * first, 4 * first)} for first in firsts]

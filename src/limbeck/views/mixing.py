"""Mixup and CutMix: every image of a view is mixed with another of the same view."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from limbeck.types import Targets

from .levels import cut_off


@dataclass(frozen=True)
class Mixing:
    """Which batches are mixed, and how. The numbers are the α of Beta(α, α), None: not this kind.

    probability: that a batch is mixed. cutmix_probability: that CutMix is chosen where both kinds are given.
    """

    mixup: float | None = None
    cutmix: float | None = None
    probability: float = 1.0
    cutmix_probability: float = 0.5


class Mix(NamedTuple):
    """How one view is mixed.

    partners: `[B]` int64, a permutation of the view. share: what is left of the image itself, in [0, 1].
    box: top, left, height, width of the part that comes from the partner; None: all pixels are blended.
    """

    partners: Tensor
    share: float
    box: tuple[int, int, int, int] | None


def draw(mixing: Mixing, batch: int, height: int, width: int, generator: torch.Generator) -> Mix | None:
    """One kind, one share and one permutation for a batch, as published; None where the batch stays as it is."""
    mixed, kind, row, column = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    partners = torch.randperm(batch, generator=generator)
    seed = int(torch.randint(0, 2**62, (), generator=generator))
    if mixed >= mixing.probability:
        return None
    cut = mixing.mixup is None or (mixing.cutmix is not None and kind < mixing.cutmix_probability)
    alpha = mixing.cutmix if cut else mixing.mixup
    if alpha is None:
        return None
    # torch draws Beta from its global generator only; numpy's counter-based one is seeded from ours instead.
    share = float(np.random.Generator(np.random.Philox(seed)).beta(alpha, alpha))
    if not cut:
        return Mix(partners, share, None)
    box = _box(share, height, width, row, column)
    return Mix(partners, 1 - box[2] * box[3] / (height * width), box)


def _box(share: float, height: int, width: int, row: float, column: float) -> tuple[int, int, int, int]:
    """A box of 1 − share of the area around a uniform centre, clipped to the image (Yun et al. 2019, section 3.1)."""
    side = math.sqrt(1 - share)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    centre_row, centre_column = int(row * height), int(column * width)
    top, bottom = max(centre_row - half_height, 0), min(centre_row + half_height, height)
    left, right = max(centre_column - half_width, 0), min(centre_column + half_width, width)
    return top, left, bottom - top, right - left


def mix(images: Tensor, labels: Tensor, plan: Mix) -> tuple[Tensor, Targets]:
    """Mixed images and both labels with their share.

    images: `[B, H, W, C]` uint8; labels: `[B]` int64. Mixup: share · image + (1 − share) · partner, rounded to a
    grey level (Zhang et al. 2018, "mixup"). CutMix: the box is the partner's, and the share is the part of the
    area that is not (Yun et al. 2019, "CutMix").
    """
    partners = plan.partners.to(images.device)
    if plan.box is None:
        own = images.float()
        images = cut_off(torch.lerp(own.index_select(0, partners), own, plan.share).add_(0.5))
    else:
        top, left, height, width = plan.box
        rows, columns = slice(top, top + height), slice(left, left + width)
        mixed = images.clone()
        mixed[:, rows, columns] = images[:, rows, columns].index_select(0, partners)
        images = mixed
    share = torch.full((labels.shape[0],), plan.share, device=labels.device)
    return images, Targets(labels, labels[partners.to(labels.device)], share)

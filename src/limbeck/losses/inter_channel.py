"""Inter-channel correlation: which channels of a map are active together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.types import Outputs, Shapes, Targets

from .layers import adapted, one_pair, one_size_pair, products
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def inter_channel(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    layers: tuple[int, ...] = (-1,),
    teacher_layers: str | tuple[int, ...] = "paired",
    state: nn.Module,
) -> Tensor:
    """Inter-channel correlation: ‖G(r(f)) − G(g)‖² / C.

    Liu et al. 2021, "Exploring Inter-Channel Correlation for Diversity-Preserved Knowledge Distillation". G `[C, C]` of
    an image holds the inner products of its channels over positions, each row divided by its Euclidean norm. r is a
    1×1 convolution with BatchNorm to the teacher's channels, trained with the student; there is none where both have
    the same number. It is used with `weight: 2.5`. Sizes of the maps may differ. The labels are not used.

    layers, teacher_layers: one layer of each model, the last by default.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    own, of_teacher = one_pair("inter_channel", student, teacher, layers, teacher_layers)
    difference = correlations(adapted(state, own)) - correlations(of_teacher)
    return difference.square().sum(dim=(1, 2)) / difference.shape[1]


def correlations(maps: Tensor) -> Tensor:
    """Row-normalised inner products `[B, C, C]` of the channels of maps `[B, C, H, W]`."""
    flat = maps.flatten(2)
    flat = flat / flat.detach().abs().amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    return functional.normalize(products(flat, flat), dim=2)


def state(
    student_shapes: Shapes,
    teacher_shapes: Shapes | None,
    *,
    layers: tuple[int, ...],
    teacher_layers: str | tuple[int, ...],
) -> nn.Module:
    """The convolution to the teacher's channels, or nothing."""
    own, of_teacher = one_size_pair("inter_channel", student_shapes, teacher_shapes, layers, teacher_layers)
    if own[0] == of_teacher[0]:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(own[0], of_teacher[0], 1), nn.BatchNorm2d(of_teacher[0]))

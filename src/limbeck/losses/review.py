"""Knowledge review: deep stages of the student help its shallow ones to predict the teacher's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.types import Outputs, Shapes, Targets

from .layers import SizePair, adapted, map_pairs, size_pairs
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True
WIDEST = 512
POOLED_SIDES = (4, 2, 1)


@takes_tensors
def review(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    layers: str | tuple[int, ...] = "all",
    teacher_layers: str | tuple[int, ...] = "paired",
    state: nn.ModuleList,
) -> Tensor:
    """Knowledge review: the sum over layers, and over pooled features as a last one, of HCL(h, g).

    Chen et al. 2021, "Distilling Knowledge via Knowledge Review". From the deepest layer to the shallowest,
    u = a · BN(conv1×1 f) + b · (the deeper u, enlarged), with a and b `[H, W]` from a sigmoid of a 1×1 convolution of
    both, and h = BN(conv3×3 u) has the teacher's channels and size. HCL is the weighted mean of squared errors at full
    size and, for those smaller than the map, after average pooling to 4, 2 and 1 positions a side, of weights 1, ½, ¼,
    ⅛. All of this is trained with the student; it may have more parameters than the student. Published weights are 0.6
    to 8, with `warmup_epochs: 20`. The paper takes the teacher's maps before their last ReLU; here they are as the
    model returns them.

    layers, teacher_layers: any number of pairs; all from the end by default. The labels are not used.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    pairs = map_pairs("review", student, teacher, layers, teacher_layers)
    pairs.append((pairs[-1][0].mean((2, 3), keepdim=True), pairs[-1][1].mean((2, 3), keepdim=True)))
    value, deeper = torch.zeros(()), None
    for (own, of_teacher), level in zip(reversed(pairs), state, strict=True):
        part: Any = level
        deeper = adapted(part, own) if deeper is None else adapted(part, own, deeper)
        answer = adapted(part.answer, deeper)
        if answer.shape[2:] != of_teacher.shape[2:]:
            answer = functional.interpolate(answer, size=of_teacher.shape[2:], mode="nearest")
        value = value.to(own) + hierarchical_distance(answer, of_teacher)
    return value


def hierarchical_distance(one: Tensor, other: Tensor) -> Tensor:
    """The weighted mean of squared errors between maps `[B, C, H, W]` at several sizes: `[B]`."""
    total, weights, weight = (one - other).square().mean(dim=(1, 2, 3)), 1.0, 1.0
    for side in POOLED_SIDES:
        if side < one.shape[2]:
            weight /= 2
            a, b = (functional.adaptive_avg_pool2d(x, side) for x in (one, other))
            total = total + weight * (a - b).square().mean(dim=(1, 2, 3))
            weights += weight
    return total / weights


def state(
    student_shapes: Shapes,
    teacher_shapes: Shapes | None,
    *,
    layers: str | tuple[int, ...],
    teacher_layers: str | tuple[int, ...],
) -> nn.ModuleList:
    """The fusion of each layer, from the pooled features to the shallowest."""
    pairs = size_pairs("review", student_shapes, teacher_shapes, layers, teacher_layers)
    pairs.append(SizePair((pairs[-1].student[0], 1, 1), (pairs[-1].teacher[0], 1, 1)))
    middle = min(WIDEST, pairs[-1].student[0])
    return nn.ModuleList(
        Fusion(own[0], middle, of_teacher[0], fuses=number > 0)
        for number, (own, of_teacher) in enumerate(reversed(pairs))
    )


class Fusion(nn.Module):
    """A layer of the student and the deeper ones, weighted position by position."""

    def __init__(self, inputs: int, middle: int, outputs: int, *, fuses: bool) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.answer = nn.Sequential(nn.Conv2d(middle, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.weigh = nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid()) if fuses else None

    def forward(self, x: Tensor, deeper: Tensor | None = None) -> Tensor:
        """`[B, C, H, W]` and the deeper fusion `[B, M, h, w]` to `[B, M, H, W]`."""
        x = self.reduce(x)
        if deeper is None or self.weigh is None:
            return x
        deeper = functional.interpolate(deeper, size=x.shape[2:], mode="nearest")
        weights = self.weigh(torch.cat([x, deeper], dim=1))
        return x * weights[:, :1] + deeper * weights[:, 1:]

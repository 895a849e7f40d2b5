"""Variational information distillation: how well a Gaussian around the student's map explains the teacher's."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.types import Outputs, Shapes, Targets

from .layers import adapted, map_pairs, pooled_to_smaller, size_pairs
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True
FIRST_VARIANCE, SMALLEST_VARIANCE = 5.0, 1e-5


@takes_tensors
def variational(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    layers: str | tuple[int, ...] = "all",
    teacher_layers: str | tuple[int, ...] = "paired",
    state: nn.ModuleList,
) -> Tensor:
    """Variational information distillation: the sum over layers of the mean of ½ · [(μ(f) − g)² / σ² + log σ²].

    Ahn et al. 2019, "Variational Information Distillation for Knowledge Transfer", equation 5 without its constant, and
    as a mean over C, H, W where the paper has a sum. f and g are maps of student and teacher; μ is three 1×1
    convolutions with ReLU between them. σ² = softplus(ρ) + 1e-5, one for each channel of the teacher, starts at 5.
    μ and ρ are trained with the student; one public implementation forgets to train ρ. It is used with `weight: 1`. The
    value may be negative. Maps of different sizes are compared at the smaller one, by average pooling.

    layers, teacher_layers: any number of pairs; all from the end by default. The labels are not used.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    value = torch.zeros(())
    pairs = map_pairs("variational", student, teacher, layers, teacher_layers)
    for (own, of_teacher), gaussian in zip(pairs, state, strict=True):
        own, of_teacher = pooled_to_smaller(own, of_teacher)
        part: Any = gaussian
        mean, variance = adapted(part.mean, own), part.variance().to(own.dtype)[:, None, None]
        value = value.to(own) + 0.5 * ((mean - of_teacher).square() / variance + variance.log()).mean(dim=(1, 2, 3))
    return value


def state(
    student_shapes: Shapes,
    teacher_shapes: Shapes | None,
    *,
    layers: str | tuple[int, ...],
    teacher_layers: str | tuple[int, ...],
) -> nn.ModuleList:
    """A mean and a variance for each pair of layers."""
    pairs = size_pairs("variational", student_shapes, teacher_shapes, layers, teacher_layers)
    return nn.ModuleList(Gaussian(own[0], of_teacher[0]) for own, of_teacher in pairs)


class Gaussian(nn.Module):
    """A mean that depends on the student's map, and a variance for each channel of the teacher's."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 1, bias=False),
        )
        start = math.log(math.expm1(FIRST_VARIANCE - SMALLEST_VARIANCE))
        self.rho = nn.Parameter(torch.full((outputs,), start))

    def variance(self) -> Tensor:
        """σ² of each channel, `[C]`."""
        return functional.softplus(self.rho) + SMALLEST_VARIANCE

"""Attention transfer: where in the image a model is active, whatever its channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.types import Outputs, Targets

from .layers import map_pairs, pooled_to_smaller
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def attention_transfer(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    layers: str | tuple[int, ...] = "all",
    teacher_layers: str | tuple[int, ...] = "paired",
) -> Tensor:
    """Attention transfer: the sum over pairs of layers of the mean over positions of (Q(f) − Q(g))².

    Zagoruyko & Komodakis 2017, "Paying More Attention to Attention", equation 2 with p = 2. Q(f) is the mean over
    channels of f², flattened over positions and divided by its Euclidean norm. The paper sums over positions; its code,
    and this loss, take the mean, so a layer with fewer positions weighs more. Use it with `weight: 1000` beside
    cross-entropy. Maps of different sizes are compared at the smaller one, by average pooling. No labels are used.

    layers, teacher_layers: any number of pairs; all from the end by default.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    value = torch.zeros(())
    for own, of_teacher in map_pairs("attention_transfer", student, teacher, layers, teacher_layers):
        q, p = (attention(x) for x in pooled_to_smaller(own, of_teacher))
        value = value.to(q) + (q - p).square().mean(dim=1)
    return value


def attention(maps: Tensor) -> Tensor:
    """The normalised attention `[B, H · W]` of feature maps `[B, C, H, W]`."""
    largest = maps.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
    return functional.normalize((maps / largest).square().mean(dim=1).flatten(1), dim=1)

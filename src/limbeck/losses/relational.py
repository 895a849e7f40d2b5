"""Relational distillation: distances and angles between the embeddings of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.types import Outputs, Targets

from .layers import pooled_pair, products
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def relational(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    layers: tuple[int, ...] = (-1,),
    teacher_layers: str | tuple[int, ...] = "paired",
) -> Tensor:
    """Relational knowledge distillation: distance_weight · L_D + angle_weight · L_A.

    Park et al. 2019, "Relational Knowledge Distillation", on pooled features. L_D is the mean over
    pairs of images of the smooth L1 distance (Huber's, δ = 1) between Euclidean distances, each model's divided by the
    mean of its positive ones. L_A is the mean over triples (i, j, k) of that between cosines of the angle at j of i, j,
    k. As in the published code, the pairs and triples in which images repeat count in the mean with 0. It needs memory
    for B³ cosines. The value depends on which images share a batch. The labels are not used.

    layers, teacher_layers: one layer of each model, the last by default.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns one number.
    """
    pair = pooled_pair("relational", student, teacher, layers, teacher_layers)
    own, of_teacher = (x / x.detach().abs().amax().clamp_min(torch.finfo(x.dtype).tiny) for x in pair)
    by_distance = functional.smooth_l1_loss(distances(own), distances(of_teacher))
    by_angle = functional.smooth_l1_loss(cosines(own), cosines(of_teacher))
    return distance_weight * by_distance + angle_weight * by_angle


def distances(embeddings: Tensor) -> Tensor:
    """Distances `[B, B]` between embeddings `[B, C]`, divided by the mean of the positive ones."""
    squared = (embeddings[:, None] - embeddings[None]).square().sum(dim=2)
    positive = squared > 0
    found = torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)
    return found / (found.sum() / positive.sum().clamp_min(1)).clamp_min(torch.finfo(found.dtype).tiny)


def cosines(embeddings: Tensor) -> Tensor:
    """Cosines `[B, B, B]` of the angles at the first image, between the directions to the other two."""
    directions = embeddings[None] - embeddings[:, None]
    squared = directions.square().sum(dim=2, keepdim=True)
    positive = squared > 0
    unit = torch.where(positive, directions / torch.where(positive, squared, 1.0).sqrt(), 0.0)
    return products(unit, unit)

"""Probabilistic knowledge transfer: for each image, which others of the batch are near it."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.types import Outputs, Targets

from .layers import pooled_pair, products
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True
SMALLEST = 1e-7
"""Added to norms, and to probabilities before their logarithm, as in the published code."""


@takes_tensors
def probabilistic_transfer(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    layers: tuple[int, ...] = (-1,),
    teacher_layers: str | tuple[int, ...] = "paired",
) -> Tensor:
    """Probabilistic knowledge transfer: the mean over all pairs (i, j) of images of p_ij · log(p_ij / q_ij).

    Passalis & Tefas 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer". p and q are the
    teacher's and the student's similarities (1 + cosine) / 2 of pooled features, divided by the sum of their row, which
    includes the image itself. The paper sums over pairs; the published code, and this loss, take the mean over B², for
    which its weight is 30,000. The value depends on which images share a batch. The labels are not used.

    layers, teacher_layers: one layer of each model, the last by default.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns one number.
    """
    pair = pooled_pair("probabilistic_transfer", student, teacher, layers, teacher_layers)
    q, p = (similarities(x) for x in pair)
    return (p * ((p + SMALLEST).log() - (q + SMALLEST).log())).mean()


def similarities(embeddings: Tensor) -> Tensor:
    """For each image, probabilities `[B, B]` that fall with the angle between embeddings `[B, C]`."""
    unit = embeddings / (torch.linalg.vector_norm(embeddings, dim=1, keepdim=True) + SMALLEST)
    nearness = (products(unit, unit) + 1) / 2
    return nearness / nearness.sum(dim=1, keepdim=True)

"""Similarity-preserving distillation: which images of a batch activate a model alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.types import Outputs, Targets

from .layers import one_pair, products
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def similarity_preserving(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    layers: tuple[int, ...] = (-1,),
    teacher_layers: str | tuple[int, ...] = "paired",
) -> Tensor:
    """Similarity-preserving distillation: ‖G(f) − G(g)‖² / B², a sum of squares over pairs of images.

    Tung & Mori 2019, "Similarity-Preserving Knowledge Distillation". G(f) = F Fᵀ, with each row divided by its
    Euclidean norm; F `[B, C · H · W]` holds the flattened maps of the batch. Channels and sizes of the two models may
    differ, so it fits any pair. Use it with `weight: 3000` beside cross-entropy. The value depends on which images
    share a batch. The labels are not used.

    layers, teacher_layers: one layer of each model, the last by default.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns one number.
    """
    own, of_teacher = one_pair("similarity_preserving", student, teacher, layers, teacher_layers)
    return (similarities(own) - similarities(of_teacher)).square().mean()


def similarities(maps: Tensor) -> Tensor:
    """The row-normalised similarities `[B, B]` of maps `[B, C, H, W]`; the scale of the maps does not matter."""
    flat = maps.flatten(1)
    flat = flat / flat.detach().abs().amax().clamp_min(torch.finfo(flat.dtype).tiny)
    return functional.normalize(products(flat, flat), dim=1)

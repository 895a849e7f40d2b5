"""Class attention transfer: where in the image each class finds its evidence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import LimbeckError
from limbeck.types import Outputs, Targets

from .layers import classifier_of, map_pairs
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def class_attention(
    student: Outputs, teacher: Outputs, targets: Targets, *, side: int = 2, normalise: bool = False
) -> Tensor:
    """Class attention transfer: mean over K and positions of (CAM(f) − CAM(g))².

    Guo et al. 2023, "Class Attention Transfer Based Knowledge Distillation". The class activation maps CAM `[B, K, H,
    W]` are the model's linear classifier, applied to each position of the last feature map; their means over positions
    are the logits. Both are pooled to `side` × `side`. The gradient reaches the student's classifier too.
    Both models must end in a linear layer on the means of the last map.

    normalise: divides each pooled map by its Euclidean norm, as in the paper; the published settings of pairs of one
    style do not. The weight is tuned for each pair: published are 0.7 to 15 for pairs of one style and 15 to 600 for
    others, with a first-epoch loss between 1 and 50 as the rule. The labels are not used.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise LimbeckError(f"class_attention: side must be a whole number from 1; got {side!r}")
    ((own, of_teacher),) = map_pairs("class_attention", student, teacher, (-1,), (-1,))
    maps = []
    for who, outputs, last in (("student", student, own), ("teacher", teacher, of_teacher)):
        weight, bias = classifier_of("class_attention", who, outputs)
        if who == "teacher":
            weight, bias = weight.detach(), bias.detach()
        pooled = functional.adaptive_avg_pool2d(class_activation_maps(last, weight, bias), side)
        maps.append(functional.normalize(pooled.flatten(2), dim=2) if normalise else pooled.flatten(2))
    return (maps[0] - maps[1]).square().mean(dim=(1, 2))


def class_activation_maps(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The classifier at each position of `[B, C, H, W]`: `[B, K, H, W]`."""
    with torch.autocast(features.device.type, enabled=False):
        weight, bias = weight.to(features.dtype), bias.to(features.dtype)
        return torch.einsum("kc,bchw->bkhw", weight, features) + bias[:, None, None]

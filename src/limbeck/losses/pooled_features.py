"""Pooled features: a linear map of the student's embedding predicts the teacher's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from limbeck.types import Outputs, Shapes, Targets

from .layers import adapted, one_size_pair, pooled_pair
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def pooled_features(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    normalise: bool = False,
    layers: tuple[int, ...] = (-1,),
    teacher_layers: str | tuple[int, ...] = "paired",
    state: nn.Module,
) -> Tensor:
    """Regression of pooled features: mean over C of (W f + b − g)².

    Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3, on the means f and g of the last feature maps
    and with a linear layer as the regressor, which is trained with the student. It needs one vector of the teacher for
    each image and no logits, so a teacher without classes can teach. Start with `weight: 1` beside cross-entropy.

    normalise: compares W f + b and g at norm √C instead, which gives 2 − 2 · cosine: only directions count.
    layers, teacher_layers: one layer of each model, the last by default. The labels are not used.
    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    own, of_teacher = pooled_pair("pooled_features", student, teacher, layers, teacher_layers)
    own = adapted(state, own)
    if normalise:
        root = own.shape[1] ** 0.5
        own, of_teacher = (root * functional.normalize(x, dim=1) for x in (own, of_teacher))
    return (own - of_teacher).square().mean(dim=1)


def state(
    student_shapes: Shapes,
    teacher_shapes: Shapes | None,
    *,
    layers: tuple[int, ...],
    teacher_layers: str | tuple[int, ...],
) -> nn.Module:
    """The linear layer from the student's channels to the teacher's."""
    own, of_teacher = one_size_pair("pooled_features", student_shapes, teacher_shapes, layers, teacher_layers)
    return nn.Linear(own[0], of_teacher[0])

"""Softmax regression representation learning: the student's embedding must be right for the teacher's classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.types import Outputs, Shapes, Targets

from .layers import adapted, classifier_of, one_size_pair, pooled_pair
from .log_space import widened
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True


@takes_tensors
def softmax_regression(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    feature_weight: float = 1.0,
    logit_weight: float = 1.0,
    state: nn.Module,
) -> Tensor:
    """Softmax regression: feature_weight · mean over C of (h − g)² + logit_weight · mean over K of (W h + b − z)².

    Yang et al. 2021, "Knowledge Distillation via Softmax Regression Representation Learning". g and z are the teacher's
    pooled features and logits, W and b its classifier. h = ReLU(BatchNorm(A f)) of the student's pooled features f; A
    and the BatchNorm are trained with the student. Tables use it beside cross-entropy and soft targets, each of weight
    1. The teacher must end in a linear layer on the means of its last map. The labels are not used.

    student, teacher: outputs with features; no gradient flows into the teacher's.
    Returns `[B]`.
    """
    own, of_teacher = pooled_pair("softmax_regression", student, teacher, (-1,), (-1,))
    weight, bias = (x.detach().to(own.dtype) for x in classifier_of("softmax_regression", "teacher", teacher))
    h = adapted(state, own)
    with torch.autocast(h.device.type, enabled=False):
        answered = h @ weight.T + bias
    by_features = (h - of_teacher).square().mean(dim=1)
    by_logits = (answered - widened(teacher.logits.detach())).square().mean(dim=1)
    return feature_weight * by_features + logit_weight * by_logits


def state(student_shapes: Shapes, teacher_shapes: Shapes | None) -> nn.Module:
    """From the student's pooled features to the teacher's."""
    own, of_teacher = one_size_pair("softmax_regression", student_shapes, teacher_shapes, (-1,), (-1,))
    return nn.Sequential(
        nn.Linear(own[0], of_teacher[0], bias=False), nn.BatchNorm1d(of_teacher[0]), nn.ReLU(inplace=True)
    )

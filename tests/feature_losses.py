"""Two published losses that train modules of their own, as a user would write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.types import Outputs, Shapes, Targets


def hint(student: Outputs, teacher: Outputs, targets: Targets, *, stage: int = -1, state: nn.Module) -> Tensor:
    """Mean squared error between the teacher's stage and a regression of the student's: `[B]`.

    Romero et al. 2015, FitNets, equation 3; the regressor is a 1×1 convolution.
    """
    return (state(student.features[stage]) - teacher.features[stage]).square().flatten(1).mean(1)


def hint_state(student_shapes: Shapes, teacher_shapes: Shapes, *, stage: int) -> nn.Module:
    """The regressor of a stage."""
    return nn.Conv2d(student_shapes.features[stage][1], teacher_shapes.features[stage][1], 1)


hint.NEEDS_FEATURES = True  # type: ignore[attr-defined]
hint.state = hint_state  # type: ignore[attr-defined]


def overhaul(student: Outputs, teacher: Outputs, targets: Targets, *, state: nn.ModuleList) -> Tensor:
    """Partial squared distance between all stages, the deepest counting most: `[B]`.

    After Heo et al. 2019, A Comprehensive Overhaul of Feature Distillation, equation 3: where the teacher is not
    positive, a student below it is not pulled up. The connector is a 1×1 convolution and a batch normalisation.
    """
    total = torch.zeros(student.logits.shape[0], device=student.logits.device)
    for depth, (connector, s, t) in enumerate(zip(state, student.features, teacher.features, strict=True)):
        mapped = connector(s)
        distance = (mapped - t).square().masked_fill((mapped <= t) & (t <= 0), 0.0)
        total = total + distance.flatten(1).mean(1) / 2 ** (len(state) - 1 - depth)
    return total


def overhaul_state(student_shapes: Shapes, teacher_shapes: Shapes) -> nn.Module:
    """A connector for each stage."""
    pairs = zip(student_shapes.features, teacher_shapes.features, strict=True)
    return nn.ModuleList(nn.Sequential(nn.Conv2d(s[1], t[1], 1, bias=False), nn.BatchNorm2d(t[1])) for s, t in pairs)


overhaul.NEEDS_FEATURES = True  # type: ignore[attr-defined]
overhaul.state = overhaul_state  # type: ignore[attr-defined]


def mapped_logits(student: Outputs, teacher: Outputs, targets: Targets, *, state: nn.Module) -> Tensor:
    """Squared error between the teacher's logits and a linear map of the student's: `[B]`."""
    return (state(student.logits) - teacher.logits).square().mean(1)


mapped_logits.state = lambda student, teacher: nn.Linear(student.logits[1], teacher.logits[1])  # type: ignore[attr-defined]
LOSSES = {"hint": hint, "overhaul": overhaul, "mapped_logits": mapped_logits}

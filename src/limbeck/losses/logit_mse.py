"""Squared error between logits."""

from __future__ import annotations

from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import widened
from .plain_tensors import takes_tensors

NEEDS_LABELS = False


@takes_tensors
def logit_mse(student: Outputs, teacher: Outputs, targets: Targets, *, centre: bool = False) -> Tensor:
    """Half the squared distance between the logits, ½ Σ_k (student_k − teacher_k)².

    Ba & Caruana 2014, "Do Deep Nets Really Need to be Deep?", section 2.2. It is the limit of `soft_targets` for a high
    temperature: K · T² · KL tends to ½ Σ_k (student_k − teacher_k)² of centred logits (Hinton et al. 2015, section
    2.1). The labels are not used. Its values are large: start with a weight of 1 / K.

    centre: first take the mean off the logits of each example. Without it, the student also learns the teacher's mean
    logit, which changes no probability.
    student, teacher: logits `[B, K]`; no gradient flows into the teacher's. Returns `[B]`.
    """
    difference = widened(student.logits) - widened(teacher.logits.detach())
    if centre:
        difference = difference - difference.mean(dim=-1, keepdim=True)
    return 0.5 * difference.square().sum(dim=-1)

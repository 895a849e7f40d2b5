"""Swapped logits: a wrong teacher is corrected by exchanging the logits of its first choice and of the label."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import checked_temperatures, summed_divergence, widened
from .plain_tensors import takes_tensors
from .target_class import by_share


@takes_tensors
def swapped_logits(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    temperatures: Sequence[float] = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
    own_weight: float = 0.0,
) -> Tensor:
    """Swapped logit distillation, Σ_T T² · [KL(p' ‖ q) + own_weight · KL(q' ‖ q)].

    Limantoro et al. 2025, "Swapped Logit Distillation via Bi-level Teacher Alignment". p and q
    are the softmaxes of teacher and student at temperature T. A prime marks logits whose largest value and whose value
    of the target class have changed places, so that the target class is first and the set of values is kept. Where the
    teacher is right, the first term is `soft_targets`, summed over the temperatures.

    own_weight: of the student's own swapped logits as a second teacher, without a gradient into these (in the published
    code, a gradient also flows into them). The paper adds it late in training, after epoch 150 of 240.
    For a mixed image, its own label has weight `share` and its partner's label the rest. To be used together with
    cross-entropy. With several teachers, their probabilities are averaged at temperature 1.
    student, teacher: logits `[B, K]`; no gradient flows into the teacher's. targets: labels `[B]` int64.
    Raises LimbeckError if labels are distributions, because these have no target class, and for temperatures that are
    not numbers above 0.
    Returns `[B]`, in nats.
    """
    scales = checked_temperatures("swapped_logits", temperatures)
    student_logits, teacher_logits = widened(student.logits), widened(teacher.logits.detach())

    def of(labels: Tensor) -> Tensor:
        value = summed_divergence(student_logits, swapped(teacher_logits, labels), scales)
        if own_weight:
            own = swapped(student_logits.detach(), labels)
            value = value + own_weight * summed_divergence(student_logits, own, scales)
        return value

    return by_share("swapped_logits", targets, of)


def swapped(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits `[B, K]` whose largest value and whose value of the label have changed places."""
    first, target = logits.argmax(dim=-1, keepdim=True), labels.unsqueeze(-1)
    largest, own = logits.gather(-1, first), logits.gather(-1, target)
    return torch.scatter(torch.scatter(logits, -1, first, own), -1, target, largest)

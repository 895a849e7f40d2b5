"""Decoupled knowledge distillation: separate weights for the target class and for the other classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.types import Outputs, Targets, UnmixedTargets

from .log_space import widened
from .plain_tensors import takes_tensors


@takes_tensors
def dkd(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    temperature: float = 4.0,
    target_weight: float = 1.0,
    non_target_weight: float = 8.0,
) -> Tensor:
    """Decoupled knowledge distillation, T² · (target_weight · TCKD + non_target_weight · NCKD).

    Zhao et al. 2022, "Decoupled Knowledge Distillation", equations 5 to 7. The two weights are the paper's α and β.
    With softened probabilities p (teacher) and q (student) and target class t, TCKD is the KL divergence of
    (p_t, 1 − p_t) from (q_t, 1 − q_t), and NCKD the KL divergence of the two distributions over the other classes. Then
    KL(p ‖ q) = TCKD + (1 − p_t) · NCKD. Both are computed in log space: log(1 − p_t) is a logsumexp over the
    other classes, so no probability underflows, and all finite logits give finite values and gradients.

    For a mixed image, its own label has weight `share` and its partner's label the rest. The defaults are the published
    settings for CIFAR-100, to be used together with cross-entropy of weight 1.
    student, teacher: logits `[B, K]`, K ≥ 2 (with two classes NCKD is 0); no gradient flows into the teacher's.
    targets: labels `[B]` int64.
    Raises LimbeckError if labels are distributions, because these have no target class.
    Returns `[B]`, in nats.
    """
    if targets.labels.is_floating_point() or targets.partner_labels.is_floating_point():
        raise LimbeckError("dkd needs one target class per image; got distributions over classes as labels")
    student_logits = widened(student.logits) / temperature
    teacher_logits = widened(teacher.logits.detach()) / temperature

    def of(labels: Tensor) -> Tensor:
        target, non_target = _parts(student_logits, teacher_logits, labels)
        return target_weight * target + non_target_weight * non_target

    own = of(targets.labels)
    if isinstance(targets, UnmixedTargets):  # known without a device synchronisation
        return temperature**2 * own
    share = targets.share.to(own.dtype)
    return temperature**2 * (share * own + (1 - share) * of(targets.partner_labels))


def _parts(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD, `[B]` each, for logits that are already divided by the temperature."""
    target = labels.unsqueeze(-1)
    others = torch.ones_like(student_logits, dtype=torch.bool).scatter(-1, target, False)
    log_p, log_p_rest = _two_classes(teacher_logits, target, others)
    log_q, log_q_rest = _two_classes(student_logits, target, others)
    of_target = log_p.exp() * (log_p - log_q) + log_p_rest.exp() * (log_p_rest - log_q_rest)
    # -inf is used only inside log_softmax, where its gradient is 0; afterwards the target position holds 0.
    log_p_others = torch.log_softmax(teacher_logits.where(others, -math.inf), dim=-1)
    log_q_others = torch.log_softmax(student_logits.where(others, -math.inf), dim=-1)
    difference = log_p_others.where(others, 0.0) - log_q_others.where(others, 0.0)
    return of_target, (log_p_others.exp() * difference).sum(dim=-1)


def _two_classes(logits: Tensor, target: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """log p and log(1 − p) of the target class, `[B]` each."""
    own = logits.gather(-1, target).squeeze(-1)
    gap = own - torch.logsumexp(logits.where(others, -math.inf), dim=-1)
    return torch.nn.functional.logsigmoid(gap), torch.nn.functional.logsigmoid(-gap)

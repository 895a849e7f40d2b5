"""Refined logit distillation: what the teacher says, without what contradicts the label."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import widened
from .plain_tensors import takes_tensors
from .target_class import by_share, divergence_among, log_target_and_rest, other_classes


@takes_tensors
def rld(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    temperature: float = 4.0,
    confidence_temperature: float = 1.0,
    confidence_weight: float = 1.0,
    masked_weight: float = 4.0,
) -> Tensor:
    """Refined logit distillation, confidence_weight · SCD + masked_weight · MCD.

    Sun et al. 2025, "Knowledge Distillation with Refined Logits". The weights are the paper's α and β.
    SCD = τ² · KL((max p, 1 − max p) ‖ (q_t, 1 − q_t)) at the confidence temperature τ: the student gives the target
    class t the confidence that the teacher gives its first choice, right or wrong. MCD = T² · KL(p̂ ‖ q̂) at temperature
    T, where p̂ and q̂ are softmaxes over the classes that the teacher scores strictly below the target class. Classes
    that the teacher ranks above the label are thus not taught. If no class is below the target, MCD is 0.

    For a mixed image, its own label has weight `share` and its partner's label the rest. β is 4 to 8 in the published
    experiments. To be used together with cross-entropy of weight 1.
    student, teacher: logits `[B, K]`, K ≥ 2; no gradient flows into the teacher's. targets: labels `[B]` int64.
    Raises LimbeckError if labels are distributions, because these have no target class.
    Returns `[B]`, in nats.
    """
    student_logits, teacher_logits = widened(student.logits), widened(teacher.logits.detach())
    first_choice = teacher_logits.argmax(dim=-1)
    log_p, log_p_rest = _confidence(teacher_logits / confidence_temperature, first_choice)

    def of(labels: Tensor) -> Tensor:
        log_q, log_q_rest = _confidence(student_logits / confidence_temperature, labels)
        confidence = log_p.exp() * (log_p - log_q) + log_p_rest.exp() * (log_p_rest - log_q_rest)
        below = teacher_logits < teacher_logits.gather(-1, labels.unsqueeze(-1))
        some = below.any(dim=-1, keepdim=True)
        # A softmax over no class is no number: rows without a class below the target choose all, and count 0.
        masked = divergence_among(teacher_logits / temperature, student_logits / temperature, below | ~some)
        masked = torch.where(some.squeeze(-1), masked, 0.0)
        return confidence_weight * confidence_temperature**2 * confidence + masked_weight * temperature**2 * masked

    return by_share("rld", targets, of)


def _confidence(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return log_target_and_rest(logits, labels, other_classes(logits, labels))

"""The teacher's softened answer as the target: knowledge distillation in its first form."""

from __future__ import annotations

from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities


def soft_targets(student: Outputs, teacher: Outputs, targets: Targets, *, temperature: float = 4.0) -> Tensor:
    """KL divergence from the teacher's softened probabilities to the student's, times T².

    T² · Σ_k p_k (log p_k − log q_k) with p = softmax(teacher / T) and q = softmax(student / T):
    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2; T² keeps the gradient's
    size as T changes (section 2.1). The labels are not used: alone, this is function matching.

    student, teacher: logits `[B, K]`; no gradient flows into the teacher's. Returns `[B]`, in nats.
    """
    log_p = log_probabilities(teacher.logits.detach(), temperature)
    log_q = log_probabilities(student.logits, temperature)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=-1)

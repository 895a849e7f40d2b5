"""The teacher's softened answer as the target: knowledge distillation in its first form."""

from __future__ import annotations

from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities, widened

SMALLEST_DEVIATION = 1e-7  # as in the published z-score; keeps constant logits and their gradients finite


def soft_targets(
    student: Outputs, teacher: Outputs, targets: Targets, *, temperature: float = 4.0, standardise: bool = False
) -> Tensor:
    """KL divergence from the teacher's softened probabilities to the student's, times T².

    T² · Σ_k p_k (log p_k − log q_k) with p = softmax(teacher / T) and q = softmax(student / T):
    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2; T² keeps the gradient's
    size as T changes (section 2.1). The labels are not used: alone, this is function matching (Beyer et al. 2022,
    "Knowledge Distillation: A Good Teacher Is Patient and Consistent").

    standardise: each example's logits are first brought to mean 0 and standard deviation 1, so that the student
    need not match the teacher's scale (Sun et al. 2024, "Logit Standardization in Knowledge Distillation"); T is
    then the base temperature.
    student, teacher: logits `[B, K]`; no gradient flows into the teacher's. Returns `[B]`, in nats.
    """
    student_logits, teacher_logits = student.logits, teacher.logits.detach()
    if standardise:
        student_logits, teacher_logits = standardised(student_logits), standardised(teacher_logits)
    log_p = log_probabilities(teacher_logits, temperature)
    log_q = log_probabilities(student_logits, temperature)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def standardised(logits: Tensor) -> Tensor:
    """Logits `[B, K]` with mean 0 and standard deviation 1 (of K, not K − 1) in each row; constant rows become 0."""
    wide = widened(logits)
    centred = wide - wide.mean(dim=-1, keepdim=True)
    # The root is taken of a number above 0 even where all logits are equal: its slope at 0 is infinite.
    variance = centred.square().mean(dim=-1, keepdim=True)
    return centred / (variance + SMALLEST_DEVIATION**2).sqrt()

"""The teacher's softened answer as the target: knowledge distillation in its first form."""

from __future__ import annotations

from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities, widened
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
SMALLEST_DEVIATION = 1e-3  # below it, gradients of half-precision logits would overflow


@takes_tensors
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
    """Logits `[B, K]` with mean 0 and standard deviation 1 in each row; constant rows become 0.

    The deviation is of K, as in the paper; its published code divides by K − 1, which is a temperature higher by
    the factor √(K / (K − 1)). Below 1e-3 it counts as 1e-3, so that a gradient grows at most a thousandfold on its
    way back (the published code adds 1e-7: constant logits in float16 then learn from infinite gradients).
    """
    wide = widened(logits)
    centred = wide - wide.mean(dim=-1, keepdim=True)
    # The floor stands under the root, whose slope at 0 is infinite.
    variance = centred.square().mean(dim=-1, keepdim=True).clamp_min(SMALLEST_DEVIATION**2)
    return centred / variance.sqrt()

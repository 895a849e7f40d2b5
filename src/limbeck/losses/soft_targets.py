"""The teacher's softened probabilities as targets: the original knowledge distillation."""

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
    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2. The factor T² keeps the size of the
    gradient independent of T (section 2.1). The labels are not used. As the only loss, this is function matching
    (Beyer et al. 2022, "Knowledge Distillation: A Good Teacher Is Patient and Consistent").

    standardise: first standardise the logits of each example to mean 0 and standard deviation 1, so that the student
    need not match the teacher's scale (Sun et al. 2024, "Logit Standardization in Knowledge Distillation"). T is then
    the base temperature.
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

    The variance is divided by K, as in the paper. The published code divides by K − 1, which corresponds to a
    temperature higher by the factor √(K / (K − 1)). Standard deviations below 1e-3 are set to 1e-3, so that
    backpropagation amplifies gradients at most a thousandfold. (The published code adds 1e-7, so that constant float16
    logits get infinite gradients.)
    """
    wide = widened(logits)
    centred = wide - wide.mean(dim=-1, keepdim=True)
    # The minimum applies before the root, whose slope at 0 is infinite.
    variance = centred.square().mean(dim=-1, keepdim=True).clamp_min(SMALLEST_DEVIATION**2)
    return centred / variance.sqrt()

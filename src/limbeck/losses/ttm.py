"""Transformed teacher matching: only the teacher has a temperature."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities
from .plain_tensors import takes_tensors

NEEDS_LABELS = False


@takes_tensors
def ttm(
    student: Outputs, teacher: Outputs, targets: Targets, *, temperature: float = 10.0, weighted: bool = False
) -> Tensor:
    """Transformed teacher matching: KL(p^γ / Σ p^γ ‖ q) with γ = 1 / T, for the student's q at temperature 1.

    Zheng & Yang 2024, "Knowledge Distillation Based on Transformed Teacher Matching". The power
    transform of the teacher's probabilities p is softmax(teacher / T). There is no factor T². The loss is 0 where the
    student's logits are the teacher's divided by T, not where they are equal. Compared with distillation at T, it
    contains a Rényi entropy of the student as a regulariser. The labels are not used.

    weighted: multiply the loss of each example by Σ_k p_k^γ, which grows with the teacher's uncertainty and is at most
    K^(1 − γ): weighted matching, WTTM.
    Published weights differ for every pair: with cross-entropy of weight 1 and T = 10, about 45 for TTM and 4 for WTTM.
    student, teacher: logits `[B, K]`; no gradient flows into the teacher's. Returns `[B]`, in nats.
    """
    log_p = log_probabilities(teacher.logits.detach(), temperature)
    log_q = log_probabilities(student.logits)
    value = (log_p.exp() * (log_p - log_q)).sum(dim=-1)
    if weighted:
        value = value * torch.logsumexp(log_probabilities(teacher.logits.detach()) / temperature, dim=-1).exp()
    return value

"""Normalised knowledge distillation: the target class without a temperature, the others normalised among them."""

from __future__ import annotations

from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities, widened
from .plain_tensors import takes_tensors
from .target_class import by_share, log_softmax_among, other_classes


@takes_tensors
def nkd(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    temperature: float = 1.0,
    non_target_weight: float = 1.5,
) -> Tensor:
    """Normalised distillation, −p_t log q_t − non_target_weight · T² · Σ_{i≠t} p̂_i log q̂_i.

    Yang et al. 2023, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized
    Loss and Customized Soft Labels". The weight is the paper's γ. The probabilities p (teacher) and q (student) of the
    target class t have no temperature; p̂ and q̂ are the softmaxes at temperature T over the other classes.

    Both parts are cross-entropies, so the value does not fall to 0: the lowest second part is the entropy of p̂. The
    gradient of the first part is p_t times that of cross-entropy with the label; a student that equals its teacher
    still has one.
    For a mixed image, its own label has weight `share` and its partner's label the rest; the published code takes the
    label of the larger share only. The defaults are those for ImageNet; for CIFAR-100, the published code has
    `temperature: 3` and `non_target_weight: 3.5`. To be used together with cross-entropy of weight 1.
    student, teacher: logits `[B, K]`, K ≥ 2; no gradient flows into the teacher's. targets: labels `[B]` int64.
    Raises LimbeckError if labels are distributions, because these have no target class.
    Returns `[B]`, in nats.
    """
    log_p, log_q = log_probabilities(teacher.logits.detach()), log_probabilities(student.logits)
    teacher_logits = widened(teacher.logits.detach()) / temperature
    student_logits = widened(student.logits) / temperature

    def of(labels: Tensor) -> Tensor:
        target, others = labels.unsqueeze(-1), other_classes(student_logits, labels)
        of_target = -log_p.gather(-1, target).exp() * log_q.gather(-1, target)
        log_q_others = log_softmax_among(student_logits, others).where(others, 0.0)
        of_others = -(log_softmax_among(teacher_logits, others).exp() * log_q_others).sum(dim=-1)
        return of_target.squeeze(-1) + non_target_weight * temperature**2 * of_others

    return by_share("nkd", targets, of)

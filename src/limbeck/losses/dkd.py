"""Decoupled knowledge distillation: separate weights for the target class and for the other classes."""

from __future__ import annotations

from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import widened
from .plain_tensors import takes_tensors
from .target_class import by_share, divergence_among, log_target_and_rest, other_classes


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
    student_logits = widened(student.logits) / temperature
    teacher_logits = widened(teacher.logits.detach()) / temperature

    def of(labels: Tensor) -> Tensor:
        target, non_target = _parts(student_logits, teacher_logits, labels)
        return target_weight * target + non_target_weight * non_target

    return temperature**2 * by_share("dkd", targets, of)


def _parts(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD, `[B]` each, for logits that are already divided by the temperature."""
    others = other_classes(student_logits, labels)
    log_p, log_p_rest = log_target_and_rest(teacher_logits, labels, others)
    log_q, log_q_rest = log_target_and_rest(student_logits, labels, others)
    of_target = log_p.exp() * (log_p - log_q) + log_p_rest.exp() * (log_p_rest - log_q_rest)
    return of_target, divergence_among(teacher_logits, student_logits, others)

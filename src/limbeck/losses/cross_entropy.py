"""Cross-entropy with labels, including smoothed, mixed and soft labels."""

from __future__ import annotations

from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities
from .plain_tensors import takes_tensors

NEEDS_TEACHER = False


@takes_tensors
def cross_entropy(
    student: Outputs, teacher: Outputs | None, targets: Targets, *, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy with the labels.

    For a mixed image, its own label has weight `share` and its partner's label the rest. This equals the cross-entropy
    with the mixed distribution. Label smoothing ε moves ε of the target probability to a uniform distribution over all
    K classes (Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7).

    student: logits `[B, K]`. teacher: not used.
    targets: labels `[B]` int64, or floating-point distributions `[B, K]`.
    Returns `[B]`, in nats.
    """
    log_p = log_probabilities(student.logits)
    own = _negative_log_likelihood(log_p, targets.labels)
    partner = _negative_log_likelihood(log_p, targets.partner_labels)
    share = targets.share.to(log_p.dtype)
    loss = share * own + (1 - share) * partner
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean(dim=-1)
    return loss


def _negative_log_likelihood(log_p: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        return -(labels.to(log_p.dtype) * log_p).sum(dim=-1)
    return -log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1)

"""Cross-entropy with labels, smoothed, mixed or given as distributions."""

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

    A mixed image counts `share` for its label and the rest for its partner's, exactly as the cross-entropy
    with the mixed distribution would. Label smoothing ε takes ε of the target and spreads it evenly over all
    K classes (Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7).

    student: logits `[B, K]`. teacher: not used.
    targets: labels `[B]` int64, or `[B, K]` floating point where the target is itself a distribution.
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

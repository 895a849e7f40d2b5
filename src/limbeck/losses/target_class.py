"""The target class of each image and the classes beside it, used by losses that treat the two apart."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.types import Targets, UnmixedTargets


def by_share(name: str, targets: Targets, of: Callable[[Tensor], Tensor]) -> Tensor:
    """`of(labels)` `[B]`; for a mixed image, its own label has weight `share` and its partner's label the rest.

    name: of the loss, for the message. Raises LimbeckError if labels are distributions, which have no target class.
    """
    if targets.labels.is_floating_point() or targets.partner_labels.is_floating_point():
        raise LimbeckError(f"{name} needs one target class per image; got distributions over classes as labels")
    own = of(targets.labels)
    if isinstance(targets, UnmixedTargets):  # known without a device synchronisation
        return own
    share = targets.share.to(own.dtype)
    return share * own + (1 - share) * of(targets.partner_labels)


def other_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """True for all classes but the label, bool `[B, K]`."""
    return torch.ones_like(logits, dtype=torch.bool).scatter(-1, labels.unsqueeze(-1), False)


def log_target_and_rest(logits: Tensor, labels: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """log p and log(1 − p) of the label, `[B]` each, without underflow."""
    own = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    gap = own - torch.logsumexp(logits.where(others, -math.inf), dim=-1)
    return torch.nn.functional.logsigmoid(gap), torch.nn.functional.logsigmoid(-gap)


def log_softmax_among(logits: Tensor, chosen: Tensor) -> Tensor:
    """log softmax over the chosen classes of each row, `[B, K]`; −inf at the others, where gradients are 0.

    chosen: bool `[B, K]`, at least one True in each row.
    """
    return torch.log_softmax(logits.where(chosen, -math.inf), dim=-1)


def divergence_among(teacher_logits: Tensor, student_logits: Tensor, chosen: Tensor) -> Tensor:
    """KL divergence of the two softmaxes over the chosen classes of each row, `[B]`."""
    log_p, log_q = log_softmax_among(teacher_logits, chosen), log_softmax_among(student_logits, chosen)
    # −inf appears only inside log_softmax; outside the chosen classes, the difference is 0.
    return (log_p.exp() * (log_p.where(chosen, 0.0) - log_q.where(chosen, 0.0))).sum(dim=-1)

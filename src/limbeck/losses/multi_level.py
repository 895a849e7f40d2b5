"""Multi-level logit distillation: the predictions of examples, their similarities, and those of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import checked_temperatures, log_probabilities
from .plain_tensors import takes_tensors

NEEDS_LABELS = False


@takes_tensors
def multi_level(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    instance_weight: float = 1.0,
    batch_weight: float = 1.0,
    class_weight: float = 1.0,
    uncertain_only: bool = False,
) -> Tensor:
    """Multi-level logit distillation, Σ_T (instance_weight · L_ins + batch_weight · L_batch + class_weight · L_class).

    Jin et al. 2023, "Multi-Level Logit Distillation". With softened probabilities P (teacher) and Q
    (student), `[B, K]`: L_ins is the mean over examples of T² · KL(P ‖ Q), L_batch = |P Pᵀ − Q Qᵀ|² / B compares which
    examples are similar, and L_class = |Pᵀ P − Qᵀ Q|² / K which classes are. The labels are not used.

    uncertain_only: as the published code means to do, use only the examples whose largest probability (teacher, T = 1)
    is at most the median of the batch in L_ins and L_batch, and only the classes whose summed probability is at most
    the median over classes in L_class; means are over what is used. (The published code masks after the reduction,
    which only scales the loss by about a half.)
    The paper shows every image in a weak and a strong view, and trains for two to four times the usual epochs: results
    with one view and fewer epochs are not comparable with its tables. With several teachers, their probabilities are
    averaged at temperature 1.
    student, teacher: logits `[B, K]`; no gradient flows into the teacher's.
    Raises LimbeckError for temperatures that are not numbers above 0.
    Returns a scalar for the batch, because it relates examples. It depends on the size of the batch: it is not the mean
    over smaller batches.
    """
    scales = checked_temperatures("multi_level", temperatures)
    teacher_logits = teacher.logits.detach()
    examples = classes = None
    if uncertain_only:
        plain = log_probabilities(teacher_logits).exp()
        examples, classes = _at_most_median(plain.amax(dim=-1)), _at_most_median(plain.sum(dim=0))
    value = torch.zeros((), dtype=log_probabilities(student.logits[:1, :1]).dtype, device=student.logits.device)
    with torch.autocast(student.logits.device.type, enabled=False):  # matrix products would be in half precision
        for scale in scales:
            log_p, log_q = log_probabilities(teacher_logits, scale), log_probabilities(student.logits, scale)
            divergence = (log_p.exp() * (log_p - log_q)).sum(dim=-1)
            p, q = log_p.exp(), log_q.exp()
            value = value + instance_weight * scale**2 * _mean(divergence, examples)
            value = value + batch_weight * _mean(_gap(p, q), examples, both=True)
            value = value + class_weight * _mean(_gap(p.T, q.T), classes)
    return value


def _gap(p: Tensor, q: Tensor) -> Tensor:
    """(p pᵀ − q qᵀ)², `[N, N]` for `[N, M]`."""
    return (p @ p.T - q @ q.T).square()


def _mean(values: Tensor, chosen: Tensor | None, *, both: bool = False) -> Tensor:
    """Sum of `[N]` or `[N, N]` over its columns, mean over the chosen rows. both: of the chosen columns only."""
    if chosen is None:
        return values.sum() / values.shape[0]
    counted = chosen.to(values.dtype)
    if values.ndim == 2:
        values = (values * counted).sum(dim=1) if both else values.sum(dim=1)
    return (values * counted).sum() / counted.sum()


def _at_most_median(values: Tensor) -> Tensor:
    """Which of `[N]` values are at most their median, the mean of the middle two for an even N."""
    return values <= values.quantile(0.5)

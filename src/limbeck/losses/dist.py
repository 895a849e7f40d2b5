"""DIST: keep the teacher's relations between classes and between examples, not its very probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities

CONSTANT = 1e-5  # a vector that varies by less than this part of its length is rounding: it has no direction


def dist(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    temperature: float = 1.0,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
) -> Tensor:
    """Inter- and intra-class relations by Pearson's correlation, T² · (inter_weight · inter + intra_weight · intra).

    Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher", equations 9 to 11, whose β and γ are the two
    weights: inter is the mean over examples of 1 − ρ between the rows of both softened probabilities, intra the
    mean over classes of 1 − ρ between their columns. The labels are not used.

    1 − ρ(u, v) is computed as ½ |û − v̂|², with û the centred vector brought to length 1: the same number, without
    its cancellation, and exactly 0 for equal vectors. A constant vector has no direction (û = 0).
    student, teacher: logits `[B, K]`; no gradient flows into the teacher's.
    Returns one number for the batch, since the columns run over its examples.
    """
    q = log_probabilities(student.logits, temperature).exp()
    p = log_probabilities(teacher.logits.detach(), temperature).exp()
    inter = _distance(q, p, dim=-1).mean()
    intra = _distance(q, p, dim=0).mean()
    return temperature**2 * (inter_weight * inter + intra_weight * intra)


def _distance(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """1 − Pearson's ρ along `dim`."""
    return 0.5 * (_direction(student, dim) - _direction(teacher, dim)).square().sum(dim=dim)


def _direction(values: Tensor, dim: int) -> Tensor:
    centred = values - values.mean(dim=dim, keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=dim, keepdim=True)
    length = torch.linalg.vector_norm(values.detach(), dim=dim, keepdim=True)
    varies = norm.detach() > CONSTANT * length
    # Chosen before the division: 0 / 0 behind a `where` would still send NaN back.
    return centred.where(varies, 0.0) / norm.where(varies, 1.0)

"""DIST: keep the teacher's relations between classes and between examples, not its very probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
FLOOR = 1e-8  # of a centred vector's squared length; the published code adds as much to the product of two lengths


@takes_tensors
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

    ρ = (c + ε) / √((a + ε)(b + ε)), with c the sum of products of the two centred vectors, a and b their sums of
    squares, and ε = 1e-8 for vectors that hardly vary: two constant ones agree (ρ = 1, nothing to learn), a constant
    one does not correlate with any other (ρ ≈ 0), and gradients grow at most ten thousandfold on their way back. A
    class whose probability nowhere in the batch rises above 1e-5 so counts as constant, in every precision.
    1 − ρ is computed as ½ |û − v̂|², û being the centred vector and √ε beside it, brought to length 1: the same number
    without its cancellation, and exactly 0 for equal vectors.

    The published weights are 2 and 2 beside cross-entropy of weight 1 (as `weight: 2` with the defaults), at
    temperature 1 on ImageNet and 4 on CIFAR-100; the factor T² is the published code's.
    student, teacher: logits `[B, K]`; no gradient flows into the teacher's.
    Returns one number for the batch, since the columns run over its examples. A batch of one has no such relation:
    intra is 0.
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
    """The centred vectors along `dim` with √ε beside each, brought to length 1: never without a direction."""
    centred = values - values.mean(dim=dim, keepdim=True)
    inverse = (centred.square().sum(dim=dim, keepdim=True) + FLOOR).rsqrt()
    return torch.cat((centred * inverse, FLOOR**0.5 * inverse), dim=dim)

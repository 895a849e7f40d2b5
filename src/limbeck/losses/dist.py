"""DIST: match the teacher's relations between classes and between examples instead of its exact probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
EPSILON = 1e-8  # added to squared lengths; the published code adds it to the product of two lengths


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
    """DIST, inter- and intra-class relations: T² · (inter_weight · inter + intra_weight · intra).

    Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher", equations 9 to 11. The two weights are the
    paper's β and γ. inter is the mean over examples of 1 − ρ between the rows of both softened probabilities, and intra
    the mean over classes of 1 − ρ between their columns, where ρ is Pearson's correlation. The labels are not used.

    ρ = (c + ε) / √((a + ε)(b + ε)), where c is the sum of products of the two centred vectors and a and b are their
    sums of squares. ε = 1e-8 handles nearly constant vectors: two constant vectors agree (ρ = 1), a constant vector
    does not correlate with any other (ρ ≈ 0), and backpropagation amplifies gradients at most by ten thousand. In
    every precision, a class whose probability stays below 1e-5 in the whole batch therefore counts as constant. 1 − ρ
    is computed as ½ |û − v̂|², where û is the centred vector with √ε appended, normalised to length 1. This has the
    same value, avoids cancellation and is exactly 0 for equal vectors.

    The paper uses weights 2 and 2 together with cross-entropy of weight 1 (`weight: 2` with the defaults), at
    temperature 1 on ImageNet and 4 on CIFAR-100. The factor T² comes from the published code.
    student, teacher: logits `[B, K]`; no gradient flows into the teacher's.
    Returns a scalar for the batch, because columns run over its examples. For a batch of one, intra is 0.
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
    """The centred vectors along `dim`, with √ε appended and normalised to length 1, so that none has length 0."""
    centred = values - values.mean(dim=dim, keepdim=True)
    inverse = (centred.square().sum(dim=dim, keepdim=True) + EPSILON).rsqrt()
    return torch.cat((centred * inverse, EPSILON**0.5 * inverse), dim=dim)

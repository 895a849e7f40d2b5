"""Several teachers as one: the weighted mean of their probabilities, with fixed or learned weights or one per image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.types import Outputs, Targets

from .log_space import log_probabilities


def ensemble(teachers: Sequence[Outputs], weights: Sequence[float], temperature: float) -> Outputs | None:
    """Combine the outputs of several teachers: the weighted mean of their probabilities at temperature T.

    Returns logits z with softmax(z / T) = Σ_i w_i softmax(z_i / T). A single teacher is returned unchanged; several
    teachers give no features, since features of different models have no mean.
    """
    if not teachers:
        return None
    if len(teachers) == 1:
        return teachers[0]
    logs = torch.stack([log_probabilities(t.logits, temperature) for t in teachers])
    scale = torch.tensor(weights, dtype=logs.dtype, device=logs.device).log().view(-1, 1, 1)
    return Outputs(temperature * torch.logsumexp(logs + scale, dim=0))


def mixture(teachers: Sequence[Outputs], log_weights: Tensor, temperature: float) -> Outputs:
    """`ensemble` with the logarithms of weights that sum to 1: `[n]`, or `[n, B]` with weights for each image."""
    logs = torch.stack([log_probabilities(t.logits, temperature) for t in teachers])
    scale = log_weights.to(logs.dtype).view(len(teachers), -1, 1)
    return Outputs(temperature * torch.logsumexp(logs + scale, dim=0))


def log_weights_by_confidence(teachers: Sequence[Outputs], weights: Sequence[float], targets: Targets) -> Tensor:
    """Weights by the probability that each teacher gives the label: w_i p_i(y) / Σ_j w_j p_j(y), as logarithms [n, B].

    This is the posterior probability of teacher i, given the label, in the mixture with prior weights w. For two
    teachers of equal weight it is the weighting of Zhang et al. 2022, "Confidence-Aware Multi-Teacher Knowledge
    Distillation" (CA-MKD), eq. 3: w_i = (1 − softmax_i(cross-entropies)) / (n − 1). For more teachers that formula
    gives none of them more than 1 / (n − 1); the posterior has no such limit. A mixed image counts by the shares of its
    labels. Probabilities are those at temperature 1.
    """
    scores = torch.stack([log_probability_of_labels(t.logits, targets) for t in teachers])
    return torch.log_softmax(scores + _log_column(weights, scores), dim=0)


def log_weights_by_entropy(teachers: Sequence[Outputs], weights: Sequence[float]) -> Tensor:
    """Weights by certainty: w_i exp(−H_i) / Σ_j w_j exp(−H_j), as logarithms [n, B].

    H_i is the entropy of teacher i's probabilities for the image, in nats at temperature 1, so exp(H_i) is the number
    of classes between which it hesitates. No labels are needed. The idea that a teacher with less entropy weighs more
    is that of Kwon et al. 2020, "Adaptive Knowledge Distillation Based on Entropy".
    """
    logs = torch.stack([log_probabilities(t.logits) for t in teachers])
    scores = (logs.exp() * logs).sum(dim=-1)
    return torch.log_softmax(scores + _log_column(weights, scores), dim=0)


def log_probability_of_labels(logits: Tensor, targets: Targets) -> Tensor:
    """log Σ_k y_k p_k of each image, `[B]`: y has the shares of a mixed image's labels, or is a distribution."""
    logs = log_probabilities(logits)
    share = targets.share.to(logs.dtype)
    own, partner = (_log_probability(logs, labels) for labels in (targets.labels, targets.partner_labels))
    return torch.logaddexp(own + share.log(), partner + (1 - share).log())


def _log_probability(logs: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        return torch.logsumexp(logs + labels.to(logs.dtype).clamp_min(torch.finfo(logs.dtype).tiny).log(), dim=-1)
    return logs.gather(1, labels.unsqueeze(1)).squeeze(1)


def _log_column(weights: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor([math.log(weight) for weight in weights], dtype=like.dtype, device=like.device).unsqueeze(1)

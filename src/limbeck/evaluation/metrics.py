"""What a table of logits is worth, given the labels: pure functions, tensors in, numbers out.

Everything is computed in float64 on the CPU. Two rules hold throughout.

Ties: of equal logits the class with the lower number ranks first, so a model that says the same of every
class gets the share of class 0 and not 100 %.

Answers: a row with NaN or +inf, or with nothing but -inf, is no answer. It is wrong in every accuracy and
agrees with nothing; the metrics that need its probabilities (cross-entropy, calibration, KL) become NaN.
A single -inf is a probability of zero and is fine.
"""

from __future__ import annotations

import torch
from torch import Tensor

NO_PREDICTION = -1


def answered(logits: Tensor) -> Tensor:
    """`[N]` bool: which rows of `[N, K]` are a distribution over classes."""
    broken = logits.isnan().any(dim=1) | (logits == torch.inf).any(dim=1) | (logits == -torch.inf).all(dim=1)
    return ~broken


def predictions(logits: Tensor) -> Tensor:
    """`[N]` int64: the class with the largest logit, the lower number at a tie, or `NO_PREDICTION`."""
    classes = logits.shape[1]
    places = torch.arange(classes, device=logits.device).expand_as(logits)
    best = torch.where(logits == logits.amax(dim=1, keepdim=True), places, classes).amin(dim=1)
    return torch.where(answered(logits), best, NO_PREDICTION)


def correct(logits: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """`[N]` bool: is the label among the `k` largest logits? (Always, where there are no more than `k`.)"""
    own = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    rank = ((logits > own) | ((logits == own) & earlier)).sum(dim=1)
    return (rank < k) & answered(logits)


def accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Top-`k` accuracy in [0, 1]."""
    return correct(logits, labels, k).double().mean().item()


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats; NaN where a row is no answer."""
    log_likelihood = logits.double().log_softmax(dim=1).gather(1, labels[:, None])[:, 0]
    return -torch.where(answered(logits), log_likelihood, torch.nan).mean().item()


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Mean distance of confidence from accuracy over `bins` equal bins of confidence, in [0, 1].

    Bin m holds confidences in ((m - 1)/bins, m/bins]. Guo et al., On Calibration of Modern Neural Networks,
    ICML 2017, equation 3. NaN where a row is no answer.
    """
    if not answered(logits).all():
        return float("nan")
    confidence = logits.double().softmax(dim=1).amax(dim=1)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    surplus = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    surplus.index_add_(0, place, confidence - correct(logits, labels).double())
    return surplus.abs().sum().item() / len(labels)


def per_class(logits: Tensor, labels: Tensor) -> list[float | None]:
    """Accuracy of each class in [0, 1], `K` values; None for a class that has no image here."""
    classes = logits.shape[1]
    images = torch.bincount(labels, minlength=classes)
    right = torch.bincount(labels[correct(logits, labels)], minlength=classes)
    return [r / n if n else None for r, n in zip(right.tolist(), images.tolist(), strict=True)]


def confusion(logits: Tensor, labels: Tensor) -> list[tuple[int, int, int]]:
    """(class, class answered, images) of every pair that occurs, in order; images without an answer are left out."""
    answers, classes = predictions(logits), logits.shape[1]
    known = answers != NO_PREDICTION
    pairs, counts = (labels[known] * classes + answers[known]).unique(return_counts=True)
    return [(pair // classes, pair % classes, n) for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True)]


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Mean over the classes that have images of the accuracy per class, in [0, 1]."""
    present = [value for value in per_class(logits, labels) if value is not None]
    return sum(present) / len(present)


def agreement(logits: Tensor, reference: Tensor) -> float:
    """Share of images, in [0, 1], on which both have the same top class."""
    own, other = predictions(logits), predictions(reference)
    return ((own == other) & (own != NO_PREDICTION)).double().mean().item()


def kl_divergence(reference: Tensor, logits: Tensor) -> float:
    """Mean KL(reference || logits) at temperature 1, in nats; NaN where a row of either is no answer.

    Infinite where `logits` rules out what `reference` deems possible.
    """
    log_p, log_q = reference.double().log_softmax(dim=1), logits.double().log_softmax(dim=1)
    p = log_p.exp()
    divergence = torch.where(p > 0, p * (log_p - log_q), 0.0).sum(dim=1)
    known = answered(reference) & answered(logits)
    return torch.where(known, divergence, torch.nan).mean().item()

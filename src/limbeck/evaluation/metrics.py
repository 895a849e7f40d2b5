"""Metrics of logits and labels, as pure functions from tensors to numbers.

Everything is computed in float64 on the CPU, some rows of logits at a time: beside the logits, memory does not grow
with their number. Means are taken over all images at once, so the numbers do not depend on the size of the blocks.
Two rules hold throughout.

Ties: among equal logits, the class with the lower index ranks first. A model with constant logits therefore has the
accuracy of always predicting class 0, not 100 %.

Invalid rows: a row with NaN or +inf, or with only -inf, is unanswered. It is wrong in every accuracy and agrees with
nothing; metrics that need its probabilities (cross-entropy, calibration, KL) become NaN. A single -inf is a probability
of zero and valid.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

NO_PREDICTION = -1
LOGITS_AT_ONCE = 2**20
"""Logits that are converted to float64 at a time, 8 MiB for each copy; at least one row."""


def _row_by_row(measure: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """`measure` of `[N, K]` and `[N]` tensors, which returns one value for each row, computed in blocks of rows."""
    count = len(tensors[0])
    rows = max(1, LOGITS_AT_ONCE // max(1, tensors[0].shape[1]))
    if count <= rows:
        return measure(*tensors)
    measured: Tensor | None = None
    for start in range(0, count, rows):
        some = measure(*(tensor[start : start + rows] for tensor in tensors))
        if measured is None:
            measured = some.new_empty(count)
        measured[start : start + rows] = some
        del some  # a small result that outlives its block keeps the allocator from using the block's memory again
    assert measured is not None
    return measured


def answered(logits: Tensor) -> Tensor:
    """`[N]` bool: which rows of `[N, K]` are valid logits."""
    return _row_by_row(_answered, logits)


def _answered(logits: Tensor) -> Tensor:
    broken = logits.isnan().any(dim=1) | (logits == torch.inf).any(dim=1) | (logits == -torch.inf).all(dim=1)
    return ~broken


def predictions(logits: Tensor) -> Tensor:
    """`[N]` int64: the class with the largest logit (the lowest index in a tie), or `NO_PREDICTION`."""
    return _row_by_row(_predictions, logits)


def _predictions(logits: Tensor) -> Tensor:
    classes = logits.shape[1]
    places = torch.arange(classes, device=logits.device).expand_as(logits)
    best = torch.where(logits == logits.amax(dim=1, keepdim=True), places, classes).amin(dim=1)
    return torch.where(_answered(logits), best, NO_PREDICTION)


def correct(logits: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """`[N]` bool: whether the label is among the `k` largest logits; always true for at most `k` classes."""
    return (_row_by_row(_ranks, logits, labels) < k) & answered(logits)


def _ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """`[N]` int64: how many classes rank before the label."""
    own = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    return ((logits > own) | ((logits == own) & earlier)).sum(dim=1)


def accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Top-`k` accuracy in [0, 1]."""
    return correct(logits, labels, k).double().mean().item()


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats; NaN if any row is unanswered."""
    log_likelihood = _row_by_row(_log_likelihood, logits, labels)
    return -torch.where(answered(logits), log_likelihood, torch.nan).mean().item()


def _log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.double().log_softmax(dim=1).gather(1, labels[:, None])[:, 0]


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Mean absolute difference of confidence and accuracy over `bins` equal bins of confidence, in [0, 1].

    Bin m contains confidences in ((m - 1)/bins, m/bins]. Guo et al., On Calibration of Modern Neural Networks,
    ICML 2017, equation 3. NaN if any row is unanswered.
    """
    if not answered(logits).all():
        return float("nan")
    confidence = _row_by_row(lambda some: some.double().softmax(dim=1).amax(dim=1), logits)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    surplus = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    surplus.index_add_(0, place, confidence - correct(logits, labels).double())
    return surplus.abs().sum().item() / len(labels)


def per_class(logits: Tensor, labels: Tensor) -> list[float | None]:
    """Accuracy of each class in [0, 1], `K` values; None for a class without images."""
    classes = logits.shape[1]
    images = torch.bincount(labels, minlength=classes)
    right = torch.bincount(labels[correct(logits, labels)], minlength=classes)
    return [r / n if n else None for r, n in zip(right.tolist(), images.tolist(), strict=True)]


def confusion(logits: Tensor, labels: Tensor) -> list[tuple[int, int, int]]:
    """(class, predicted class, images) of every pair that occurs, in order, without unanswered images."""
    answers, classes = predictions(logits), logits.shape[1]
    known = answers != NO_PREDICTION
    pairs, counts = (labels[known] * classes + answers[known]).unique(return_counts=True)
    return [(pair // classes, pair % classes, n) for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True)]


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Mean accuracy per class, over the classes that have images, in [0, 1]."""
    present = [value for value in per_class(logits, labels) if value is not None]
    return sum(present) / len(present)


def agreement(logits: Tensor, reference: Tensor) -> float:
    """Fraction of images with the same top class, in [0, 1]."""
    own, other = predictions(logits), predictions(reference)
    return ((own == other) & (own != NO_PREDICTION)).double().mean().item()


def kl_divergence(reference: Tensor, logits: Tensor) -> float:
    """Mean KL(reference || logits) at temperature 1, in nats; NaN if any row of either is unanswered.

    Infinite if `logits` gives probability zero to a class to which `reference` does not.
    """
    divergence = _row_by_row(_divergence, reference, logits)
    known = answered(reference) & answered(logits)
    return torch.where(known, divergence, torch.nan).mean().item()


def _divergence(reference: Tensor, logits: Tensor) -> Tensor:
    log_p, log_q = reference.double().log_softmax(dim=1), logits.double().log_softmax(dim=1)
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(dim=1)

"""What a temperature does to the probabilities of a teacher, measured on its logits and kept small."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from limbeck.storage.predictions import Softened

from . import metrics

TEMPERATURES = (1.0, 2.0, 4.0, 10.0, 20.0)
KEPT_RANKS = 10
EXAMPLES = (0.5, 0.95)
"""Which images are kept: quantiles of uncertainty (1 - largest probability) among those that are answered right."""
ROWS_AT_ONCE = 4096
"""Limits the memory that copies of the logits take."""


def softened(logits: Tensor, labels: Tensor) -> Softened | None:
    """The softmax of logits `[N, K]` at several temperatures (Hinton et al. 2015, equation 1), labels `[N]`.

    Images whose logits are not finite are left out; None if no image is left.
    """
    answered = metrics.answered(logits).nonzero()[:, 0]
    if not len(answered):
        return None
    labels = labels.cpu().long()
    ranks = min(KEPT_RANKS, logits.shape[1])
    ranked = torch.zeros(len(TEMPERATURES), ranks, dtype=torch.float64)
    entropy = torch.zeros(len(TEMPERATURES), dtype=torch.float64)
    for rows in answered.split(ROWS_AT_ONCE):
        largest = logits[rows].topk(ranks, dim=1).indices
        for place, temperature in enumerate(TEMPERATURES):
            log_probabilities = _log_softmax(logits[rows], temperature)
            probabilities = log_probabilities.exp()
            ranked[place] += probabilities.gather(1, largest).sum(dim=0)
            entropy[place] -= torch.where(probabilities > 0, probabilities * log_probabilities, 0.0).sum()
    places = _examples(logits, labels, answered)
    classes = metrics.predictions(logits[places])[:, None]  # the first is the prediction also where logits are equal
    rest = logits[places].clone().scatter(1, classes, -torch.inf).topk(ranks - 1, dim=1).indices
    classes = torch.cat([classes, rest], dim=1)
    of_examples = [_log_softmax(logits[places], t).exp().gather(1, classes) for t in TEMPERATURES]
    return Softened(
        temperatures=np.array(TEMPERATURES, dtype=np.float32),
        ranked=(ranked / len(answered)).to(torch.float32).numpy(),
        entropy=(entropy / len(answered)).to(torch.float32).numpy(),
        places=places.to(torch.int32).numpy(),
        labels=labels[places].to(torch.int32).numpy(),
        classes=classes.to(torch.int32).numpy(),
        probabilities=torch.stack(of_examples, dim=1).to(torch.float32).numpy(),
    )


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return (logits.double() / temperature).log_softmax(dim=1)


def _examples(logits: Tensor, labels: Tensor, answered: Tensor) -> Tensor:
    """Positions of images that are answered right, at the quantiles `EXAMPLES` of uncertainty; each once."""
    right = answered[metrics.correct(logits, labels)[answered]]
    if not len(right):
        return right
    certain = torch.cat([_log_softmax(logits[rows], 1.0).amax(dim=1) for rows in right.split(ROWS_AT_ONCE)])
    order = right[torch.argsort(certain, descending=True, stable=True)]
    return order[[*dict.fromkeys(round(share * (len(order) - 1)) for share in EXAMPLES)]]

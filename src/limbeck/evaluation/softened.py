"""What a temperature does to the probabilities of a real model, measured on its logits and kept small."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import metrics

TEMPERATURES = (1.0, 2.0, 4.0, 10.0, 20.0)
KEPT_RANKS = 10
EXAMPLES = (0.5, 0.95)
"""Which images are shown: quantiles of uncertainty (1 - largest probability) among those answered right."""


def softened(logits: Tensor, labels: Tensor) -> dict[str, Any] | None:
    """The softmax of logits `[N, K]` at several temperatures, as plain values for JSON; labels: `[N]`.

    temperatures: as below. ranked: for each, the mean over images of the largest probability, the second largest, and
    so on, up to the tenth. entropy: for each, the mean over images in nats. examples: single images: `place` in the
    split, `label`, the most probable `classes`, and their `probabilities` at each temperature.
    Images whose logits are not finite are left out; None if no image is left.
    """
    answered = metrics.answered(logits).nonzero()[:, 0]
    if not len(answered):
        return None
    finite = logits[answered].double()
    largest = finite.topk(min(KEPT_RANKS, finite.shape[1]), dim=1)
    ranked, entropy, examples = [], [], []
    chosen = _examples(finite, labels.cpu().long()[answered])
    probabilities: list[Tensor] = []
    for temperature in TEMPERATURES:
        log_probabilities = (finite / temperature).log_softmax(dim=1)
        of_ranks = log_probabilities.gather(1, largest.indices).exp()
        ranked.append(_rounded(of_ranks.mean(dim=0)))
        entropy.append(round(float(-(log_probabilities.exp() * log_probabilities).sum(dim=1).mean()), 6))
        probabilities.append(of_ranks[chosen])
    for number, row in enumerate(chosen):
        examples.append(
            {
                "place": int(answered[row]),
                "label": int(labels[answered[row]]),
                "classes": largest.indices[row].tolist(),
                "probabilities": [_rounded(of_temperature[number]) for of_temperature in probabilities],
            }
        )
    return {"temperatures": list(TEMPERATURES), "ranked": ranked, "entropy": entropy, "examples": examples}


def _examples(logits: Tensor, labels: Tensor) -> list[int]:
    """Rows of images that are answered right, at the quantiles `EXAMPLES` of uncertainty; each once."""
    right = (logits.argmax(dim=1) == labels).nonzero()[:, 0]
    if not len(right):
        return []
    certain = logits[right].softmax(dim=1).amax(dim=1)
    order = right[torch.argsort(certain, descending=True, stable=True)]
    return list(dict.fromkeys(int(order[round(share * (len(order) - 1))]) for share in EXAMPLES))


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]

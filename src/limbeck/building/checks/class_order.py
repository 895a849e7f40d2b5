"""The class order of a model's outputs, as its confusion matrix on labelled images shows it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.evaluation.metrics import NO_PREDICTION, predictions


def natural_order(names: Sequence[str]) -> list[str]:
    """Names sorted as people count: `2` before `10`."""
    return sorted(names, key=lambda name: [(not part.isdigit(), int(part) if part.isdigit() else 0, part)
                                           for part in re.split(r"(\d+)", name)])  # fmt: skip


def reordered(logits: Tensor, stands_for: Sequence[int]) -> Tensor:
    """Logits `[N, K]` whose column k answers for class `stands_for[k]`, in the order of the classes."""
    columns = torch.empty(len(stands_for), dtype=torch.long)
    columns[torch.tensor(stands_for)] = torch.arange(len(stands_for))
    return logits[:, columns]


def order_by_confusion(logits: Tensor, labels: Tensor) -> list[int] | None:
    """For each column of logits `[N, K]` the class that it answers for, where labels `[N]` tell of another order.

    Either every column is taken by the class that chose it most often, if that makes an order; or the two columns
    whose classes have been taken for each other more often than not are swapped. None where neither is so.
    """
    classes = logits.shape[1]
    answers = predictions(logits)
    valid = answers != NO_PREDICTION
    counts = torch.bincount(labels[valid] * classes + answers[valid], minlength=classes * classes)
    matrix = counts.view(classes, classes)  # a row for each class, a column for each answer
    most = [column if int(matrix[:, column].max()) == int(matrix[column, column]) else int(matrix[:, column].argmax())
            for column in range(classes)]  # fmt: skip
    if len(set(most)) == classes and most != list(range(classes)):
        return most
    gained = matrix - matrix.diagonal()[:, None]  # images of a class that are right if it is another column's
    crossed = torch.minimum(gained, gained.T).triu(1)
    if int(crossed.max()) <= 0:
        return None
    first, second = divmod(int(crossed.argmax()), classes)
    order = list(range(classes))
    order[first], order[second] = second, first
    return order


def is_significant_swap(logits: Tensor, labels: Tensor, stands_for: Sequence[int]) -> bool:
    """Whether another order is significantly more accurate than the present one.

    A sign test over the images that only one of the two gets right: if both were equally good, so many or more in
    favour of the other would have a probability below 1 in 1,000.
    """
    before = predictions(logits) == labels
    after = predictions(reordered(logits, stands_for)) == labels
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    total = gained + lost
    chance = sum(math.comb(total, k) for k in range(gained, total + 1)) / 2**total
    return chance < 1e-3

"""An exponential moving average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of parameters and batch statistics: Polyak & Juditsky 1992 in its exponential form.

    Update t, counted from 1, uses the decay min(decay, t / (t + 9)). Early in training, when the weights change fast,
    the average therefore follows them closely and soon forgets the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._pairs: tuple[list[Tensor], list[Tensor]] | None = None
        self._source = model

    def update(self) -> None:
        """Move the average towards the current weights of the model."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        averaged, current = self._floats()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, current, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def copy_counters(self) -> None:
        """Copy the buffers that are not floating-point, such as counts of batches."""
        for mine, theirs in zip(self.model.buffers(), self._source.buffers(), strict=True):
            if not mine.is_floating_point():
                mine.copy_(theirs)

    def _floats(self) -> tuple[list[Tensor], list[Tensor]]:
        if self._pairs is None:
            mine = [*self.model.parameters(), *(b for b in self.model.buffers() if b.is_floating_point())]
            theirs = [*self._source.parameters(), *(b for b in self._source.buffers() if b.is_floating_point())]
            self._pairs = [t.detach() for t in mine], [t.detach() for t in theirs]
        return self._pairs

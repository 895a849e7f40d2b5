"""Early stopping of trials by the median rule of Golovin et al., Google Vizier, KDD 2017, section 3.2.1."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from limbeck.training.learner import Learner

WARMUP_SHARE = 0.25
"""No trial is pruned in this share of its epochs."""
MIN_OTHERS = 4
"""No trial is pruned while fewer others have reached its epoch."""


class MedianRule:
    """Prunes a learner if its best validation accuracy so far is below the median of the others' best so far.

    prunable: names of the learners that may be pruned. earlier: accuracies by epoch of trials that finished before.
    """

    def __init__(self, prunable: Iterable[str], earlier: Sequence[Sequence[float]] = ()) -> None:
        self.prunable = set(prunable)
        self.earlier = [tuple(row) for row in earlier]
        self.accuracies: dict[str, list[float]] = {}

    def remember(self, name: str, accuracies: Sequence[float]) -> None:
        """Restore the accuracies that a learner had reached before a resume."""
        if name in self.prunable:
            self.accuracies[name] = list(accuracies)

    def __call__(self, learners: Sequence[Learner], accuracies: Mapping[str, float]) -> None:
        """Apply the rule after an epoch, with the validation accuracies of the learners that took part in it."""
        for name, accuracy in accuracies.items():
            if name in self.prunable:
                self.accuracies.setdefault(name, []).append(accuracy)
        for learner in learners:
            own = self.accuracies.get(learner.name, [])
            if learner.ended or learner.name not in accuracies or not own:
                continue
            epoch = len(own)
            if epoch < max(1.0, WARMUP_SHARE * learner.training.epochs):
                continue
            others = [row for name, row in self.accuracies.items() if name != learner.name]
            best = [max(row[:epoch]) for row in (*self.earlier, *others) if len(row) >= epoch]
            if len(best) >= MIN_OTHERS and max(own) < statistics.median(best):
                learner.ended = "pruned"

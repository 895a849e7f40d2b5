"""Settings that fall behind are ended: the median rule of Golovin et al., Google Vizier, KDD 2017, section 3.2.1."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from limbeck.training.learner import Learner

SPARED = 0.25
"""Share of a training that every setting is given."""
FEWEST = 4
"""Fewer others at the same epoch make no median."""


class MedianRule:
    """Ends a learner whose best validation accuracy so far lies below the median of the others' best so far.

    subject: names of the learners that may be ended. earlier: accuracies by epoch of settings that ended before.
    """

    def __init__(self, subject: Iterable[str], earlier: Sequence[Sequence[float]] = ()) -> None:
        self.subject = set(subject)
        self.earlier = [tuple(row) for row in earlier]
        self.seen: dict[str, list[float]] = {}

    def remember(self, name: str, accuracies: Sequence[float]) -> None:
        """What a learner had reached before a resume."""
        if name in self.subject:
            self.seen[name] = list(accuracies)

    def __call__(self, learners: Sequence[Learner], accuracies: Mapping[str, float]) -> None:
        """After an epoch, with the validation accuracies of those that took part in it."""
        for name, accuracy in accuracies.items():
            if name in self.subject:
                self.seen.setdefault(name, []).append(accuracy)
        for learner in learners:
            own = self.seen.get(learner.name, [])
            if learner.ended or learner.name not in accuracies or not own:
                continue
            epoch = len(own)
            if epoch < max(1.0, SPARED * learner.training.epochs):
                continue
            others = [max(row[:epoch]) for row in self.earlier if len(row) >= epoch]
            others += [
                max(row[:epoch]) for name, row in self.seen.items() if name != learner.name and len(row) >= epoch
            ]
            if len(others) >= FEWEST and max(own) < statistics.median(others):
                learner.ended = "pruned"

"""What displays of progress show of each learner: the metrics of its last epoch, and the best accuracy so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


class LatestMetrics:
    """By learner, in the order given. rows: the last epoch; None before the first."""

    def __init__(self, learners: Sequence[str]) -> None:
        self.rows: dict[str, Row | None] = dict.fromkeys(learners)
        self._best: dict[str, float] = {}

    def update(self, learner: str, row: Row) -> None:
        """Take in an epoch."""
        self.rows[learner] = row
        if (accuracy := row.get("validation_accuracy")) is not None:
            self._best[learner] = max(accuracy, self._best.get(learner, 0.0))

    def texts(self, learner: str) -> dict[str, str]:
        """The metrics of a learner as text, by name; empty before its first epoch."""
        row = self.rows[learner]
        if not row:
            return {}
        accuracy, best = row.get("validation_accuracy"), self._best.get(learner)
        return {
            "epoch": f"{row['epoch']}",
            "loss": f"{row['train_loss']:.4f}",
            "validation": f"{accuracy:.2%}" if accuracy is not None else "ended",
            "best": f"{best:.2%}" if best is not None else "",
            "lr": f"{row['lr']:.3g}" if "lr" in row else "",
            "images/s": f"{row['images_per_second']:,.0f}" if "images_per_second" in row else "",
        }

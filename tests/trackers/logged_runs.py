"""A short run that is logged, and what its metrics log holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROWS = [
    {"epoch": epoch, "train_loss": 2.5 / epoch, "train_kd_term": 1.0, "validation_accuracy": 0.1 * epoch, "lr": 1e-3}
    for epoch in (1, 2, 3)
]
STUDENT = {
    "model": "lightweight_cnn", "epochs": 2, "optimizer": {"name": "adam", "lr": 3e-3},
    "loss": [{"name": "cross_entropy"}],
}  # fmt: skip


def recipe(**more: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "precision": "fp32",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits"},
        "views": {"batch_size": 64},
        "students": {"net": STUDENT},
        **more,
    }


def metrics(run: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each learner's metrics log."""
    paths = sorted(run.glob("cohorts/*/metrics/*.jsonl"))
    return {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in paths}

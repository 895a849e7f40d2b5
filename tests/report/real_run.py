"""A small run with all that a report tells of: an ensemble, a chain, an arm that hears nobody, two seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck.experiment.run import Run, run

CNN = {"name": "lightweight_cnn", "dropout": 0.0, "hidden_dropout": 0.0}


def trained(**more: Any) -> dict[str, Any]:
    return {
        "model": CNN,
        "epochs": 1,
        "optimizer": {"name": "adam", "lr": 3e-3},
        "loss": [{"name": "cross_entropy"}],
    } | more


def taught(teacher: Any, **more: Any) -> dict[str, Any]:
    return trained(teacher=teacher, loss=[{"name": "soft_targets", "temperature": 4.0}]) | more


RECIPE: dict[str, Any] = {
    "name": "small-ensemble",
    "seeds": [0, 1],
    "threads": 1,
    "data": {"source": "digits", "train_images": 600},
    "views": {"batch_size": 64},
    "evaluation": {"latency_batch": 4},
    "teachers": {"large": trained(epochs=2), "other": trained(), "heir": taught("large")},
    "students": {
        "chained": taught("distilled"),
        "distilled": taught([{"name": "large", "weight": 3.0}, "other"]),
        "baseline": trained(),
    },
}


def real_run(folder: Path) -> Run:
    return run(RECIPE, folder=folder, command="limbeck run small-ensemble.yaml")

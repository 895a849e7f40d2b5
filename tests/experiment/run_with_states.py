"""A run whose students train modules of their losses: `python run_with_states.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import limbeck

sys.path.insert(0, str(Path(__file__).parents[1]))
from feature_losses import LOSSES

RECIPE: dict[str, Any] = {
    "name": "states", "seeds": [0, 1], "threads": 1, "precision": "fp32", "save_every_seconds": 0.05,
    "evaluation": {"latency_batch": 1}, "data": {"source": "digits", "train_images": 320},
    "views": {"batch_size": 64, "crop": {"padding": 1}},
    "teachers": {
        "wide": {"model": {"name": "resnet", "depth": 8}, "epochs": 1, "optimizer": {"name": "adam", "lr": 3e-3},
                 "loss": [{"name": "cross_entropy"}]},
    },
    "students": {
        "defaults": {"model": {"name": "resnet", "depth": 8, "stem": 8, "widths": [8, 8, 16]}, "epochs": 6,
                     "optimizer": {"name": "sgd", "lr": 0.05}, "ema": {"decay": 0.9}, "clip_norm": 1.0,
                     "choose": "best"},
        "baseline": {"loss": [{"name": "cross_entropy"}]},
        "hinted": {"teacher": "wide", "loss": [{"name": "hint", "stage": 1}, {"name": "cross_entropy"}]},
        "overhauled": {"teacher": "wide", "optimizer": {"name": "adam", "lr": 1e-3},
                       "loss": [{"name": "overhaul", "weight": 0.5}, {"name": "cross_entropy"}]},
        "fitted": {"teacher": "wide",
                   "loss": [{"name": "fitnet", "layers": [2], "teacher_layers": [3]}, {"name": "pooled_features"},
                            {"name": "correlation_congruence", "dimension": 8}, {"name": "attention_transfer"},
                            {"name": "variational", "weight": 0.1}, {"name": "masked", "weight": 1e-3},
                            {"name": "review", "layers": [-1], "weight": 0.1}, {"name": "class_attention"},
                            {"name": "softmax_regression", "weight": 0.1},
                            {"name": "cross_entropy"}]},
    },
}  # fmt: skip


def main(folder: Path) -> None:
    """Run it, or go on with it."""
    limbeck.run(RECIPE, folder=folder, losses=LOSSES)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A run from Python, to be started by `torchrun`: a small net without batch statistics, taught by one with them."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from torch import nn

import limbeck


def group_norm_net(num_classes: int) -> nn.Module:
    """No batch statistics."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, num_classes),
    )  # fmt: skip


def recipe(**more: Any) -> dict[str, Any]:
    """A teacher and two students. dist compares the examples of a batch with each other."""
    adam = {"name": "adam", "lr": 1e-3}
    labels = [{"name": "cross_entropy"}]
    return {
        "name": "together",
        "precision": "fp32",
        "threads": 1,
        "save_every_seconds": 3600,
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 400},
        "views": {"batch_size": 50, "mixing": {"mixup": 1.0}},
        "teachers": {"big": {"model": "group_norm_net", "epochs": 2, "optimizer": adam, "loss": labels}},
        "students": {
            "dist": {
                "model": "group_norm_net", "epochs": 10, "optimizer": adam, "teacher": "big", "ema": {"decay": 0.9},
                "loss": [{"name": "dist", "weight": 0.1}, {"name": "cross_entropy"}],
            },
            "small": {
                "model": "lightweight_cnn", "epochs": 10, "optimizer": adam, "teacher": "big",
                "loss": [{"name": "dkd"}],
            },
        },
        **more,
    }  # fmt: skip


def say(what: dict[str, Any]) -> None:
    """One write: lines of two processes do not mix."""
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    from limbeck.errors import LimbeckError
    from limbeck.experiment.signals import Stopped
    from limbeck.experiment.torchrun import exit_without_teardown

    try:
        done = limbeck.run(
            recipe(**json.loads(sys.argv[2])), folder=sys.argv[1], models={"group_norm_net": group_norm_net}
        )
        say({"finished": done.result["environment"]["processes"]})
    except Stopped as stopped:
        say({"stopped": stopped.signal_number})
    except LimbeckError as error:
        say({"error": str(error)})
        exit_without_teardown(2)
    exit_without_teardown(0)

"""Measuring a cohort asks each teacher once about each split, however many students are compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limbeck

ANSWERED: list[int] = []


class Counted(nn.Module):
    """Counts the images that it answers while somebody measures."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, num_classes))

    def forward(self, pixels: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled():
            ANSWERED.append(len(pixels))
        return self.body(pixels)


def test_four_students_of_one_teacher(tmp_path: Path) -> None:
    arm: dict[str, Any] = {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.01}}
    kd = [{"name": "soft_targets"}]
    student = {**arm, "model": "lightweight_cnn", "teacher": "t", "loss": kd}
    labels = [{"name": "cross_entropy"}]
    recipe = {
        "name": "asked",
        "precision": "fp32",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 100},
        "views": {"batch_size": 50},
        "teachers": {"t": {**arm, "model": "counted", "loss": labels}},
        "students": {
            "baseline": {**arm, "model": "lightweight_cnn", "loss": labels},
            **{f"kd{number}": student for number in range(3)},
        },
    }
    ANSWERED.clear()
    done = limbeck.run(recipe, folder=tmp_path, models={"counted": Counted})
    images = done.result["images"]
    validated, measured = images["validation"], images["validation"] + images["test"]
    assert sum(ANSWERED) == validated + measured + measured, (
        "itself after its epoch, itself at the end, for all students"
    )
    told = {arm["arm"]: arm["test"] for arm in done.result["arms"]}
    assert told["baseline"]["agreement"] is not None
    assert told["kd0"] == told["kd1"] == told["kd2"], "arms of one seed and one recipe end alike"
    assert told["kd0"]["kl_to_reference"] == pytest.approx(told["kd1"]["kl_to_reference"])

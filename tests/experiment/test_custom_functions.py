"""A run whose own losses or models were edited in between is not gone on with."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limbeck
from limbeck.errors import LimbeckError

RECIPE: dict[str, Any] = {
    "name": "own", "precision": "fp32", "evaluation": {"latency_batch": 0}, "data": {"source": "digits"},
    "views": {"batch_size": 256},
    "students": {"net": {"model": "mine", "epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1},
                         "loss": [{"name": "mine"}]}},
}  # fmt: skip


def loss(scale: float) -> Any:
    def mine(student: Any, teacher: Any, targets: Any) -> Tensor:
        return -scale * student.logits.log_softmax(1).gather(1, targets.labels[:, None])[:, 0]

    mine.NEEDS_TEACHER = False  # type: ignore[attr-defined]
    return mine


def model(width: int) -> Any:
    def mine(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, num_classes))

    return mine


def run(folder: Path, scale: float = 1.0, width: int = 8, **words: Any) -> limbeck.Run:
    return limbeck.run(
        copy.deepcopy(RECIPE), folder=folder, losses={"mine": loss(scale)}, models={"mine": model(width)}, **words
    )


def test_an_edited_loss_or_model_is_named_and_equal_ones_go_on(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert run(tmp_path).was_finished
    with pytest.raises(LimbeckError, match="the loss 'mine' has changed since this run was started"):
        run(tmp_path, scale=2.0)
    with pytest.raises(LimbeckError, match="the model 'mine' has changed since this run was started"):
        run(tmp_path, width=9)
    assert run(tmp_path).result == first.result
    assert not run(tmp_path, scale=2.0, fresh=True).was_finished
    with pytest.raises(LimbeckError, match="the loss 'mine' has changed"):
        run(tmp_path)


def test_a_start_that_trained_nothing_binds_nobody(tmp_path: Path) -> None:
    def breaks(student: Any, teacher: Any, targets: Any) -> Tensor:
        raise ValueError("not yet")

    breaks.NEEDS_TEACHER = False  # type: ignore[attr-defined]
    with pytest.raises(LimbeckError, match="not yet"):
        limbeck.run(RECIPE, folder=tmp_path, losses={"mine": breaks}, models={"mine": model(8)})
    assert run(tmp_path).result


def test_a_build_function_that_raises_is_one_line(tmp_path: Path) -> None:
    def breaks(num_classes: int) -> nn.Module:
        return nn.Linear(torch.zeros(2), num_classes)  # type: ignore[arg-type]

    with pytest.raises(LimbeckError, match=r"^[^\n]*mine[^\n]*cannot be built: TypeError[^\n]*$"):
        limbeck.run(RECIPE, folder=tmp_path, losses={"mine": loss(1.0)}, models={"mine": breaks})

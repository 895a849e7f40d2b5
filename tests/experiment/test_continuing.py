"""What a stopped run may be gone on with: the same teachers; another machine is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import limbeck
from limbeck.errors import LimbeckError
from limbeck.experiment.train_cohort import Watcher
from stopped_run import stop_after

STUDENT = {
    "model": "lightweight_cnn",
    "epochs": 2,
    "optimizer": {"name": "adam", "lr": 3e-3},
}


def recipe(**more: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "precision": "fp32",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits"},
        "views": {"batch_size": 64},
        "students": {"net": {**STUDENT, "loss": [{"name": "cross_entropy"}]}},
        **more,
    }


def go_on(recipe: Mapping[str, Any], folder: Path) -> list[str]:
    """Run it to its end; returns what was said."""
    said: list[str] = []
    limbeck.run(recipe, folder=folder, make_watcher=lambda key, names: Watcher(say=said.append))
    return said


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_another_number_of_threads_is_said(tmp_path: Path, threads: None) -> None:
    torch.set_num_threads(1)
    stop_after(recipe(), tmp_path, 5)
    torch.set_num_threads(2)
    said = go_on(recipe(), tmp_path)
    assert "saved with threads 1, goes on with threads 2: the run will not end bit for bit as it would have" in said


def test_the_same_machine_is_not_mentioned(tmp_path: Path) -> None:
    stop_after(recipe(), tmp_path, 5)
    assert [line for line in go_on(recipe(), tmp_path) if "saved with" in line] == []


def test_a_teachers_file_that_has_changed_since_is_noticed(tmp_path: Path) -> None:
    done = limbeck.run(recipe(), folder=tmp_path / "teacher")
    weights = done.folder / "models" / "net-seed0" / "model.safetensors"
    taught = recipe(
        teachers={"mine": {"model": "lightweight_cnn", "weights": str(weights)}},
        students={"kd": {**STUDENT, "teacher": "mine", "loss": [{"name": "soft_targets"}]}},
    )
    stop_after(taught, tmp_path, 5)
    changed = load_file(weights)
    first = next(name for name in changed if name.endswith("weight"))
    changed[first].flatten()[0] += 0.25
    save_file(changed, weights)
    with pytest.raises(LimbeckError, match="was made with other images, teachers or settings"):
        go_on(taught, tmp_path)


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_checkpoints_are_kept_as_asked(tmp_path: Path, keep: int) -> None:
    often = recipe(save_every_seconds=0, keep_checkpoints=keep)
    stop_after(often, tmp_path, 6)
    (stream,) = (tmp_path / "own" / "cohorts").glob("*/checkpoints")
    assert len(list(stream.iterdir())) == keep


def test_distilling_elsewhere_or_otherwise_is_not_gone_on_with(tmp_path: Path) -> None:
    teacher, student = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10)) for _ in range(2))
    keep = {"data": "digits", "epochs": 1, "save_to": tmp_path / "kept", "precision": "fp32"}
    limbeck.distill(student, teacher, **keep)
    with pytest.raises(LimbeckError, match="another save_to"):
        limbeck.distill(student, teacher, **{**keep, "seed": 1})
    with torch.no_grad():
        next(teacher.parameters()).mul_(2)
    with pytest.raises(LimbeckError, match="another save_to"):
        limbeck.distill(student, teacher, **keep)

"""Test-time augmentation in real runs: a block beside each model's own evaluation, at once or added afterwards."""

from __future__ import annotations

import copy
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import limbeck
from final_weights import weights
from limbeck.building.data import load_images
from limbeck.errors import LimbeckError
from limbeck.evaluation.evaluate import evaluate
from limbeck.experiment.signals import Stopped
from limbeck.experiment.train_cohort import Watcher
from limbeck.recipes.load import load_recipe
from limbeck.recipes.recipe import Data
from limbeck.sweeps.search import search_recipe
from limbeck.types import Split

VIEWS: dict[str, Any] = {"shifts": 1, "scales": [0.9]}
TRAIN: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 2,
    "optimizer": {"name": "adam", "lr": 3e-3},
    "loss": [{"name": "cross_entropy"}],
}
DATA: dict[str, Any] = {"source": "digits", "train_images": 200}
WHEN = ("cohort_seconds", "efficiency", "efficiency_alone")


def recipe(test_time: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A teacher, a student, and one that diverges."""
    evaluation = {"latency_batch": 2} | ({"test_time": test_time} if test_time else {})
    return copy.deepcopy(
        {
            "name": "augmented",
            "threads": 1,
            "precision": "fp32",
            "evaluation": evaluation,
            "data": DATA,
            "views": {"batch_size": 50},
            "teachers": {"teacher": TRAIN},
            "students": {
                "kd": {**TRAIN, "teacher": "teacher", "loss": [{"name": "soft_targets"}]},
                "diverges": {**TRAIN, "optimizer": {"name": "sgd", "lr": 1e30}},
            },
            **more,
        }
    )


def without_times(row: Any) -> Any:
    """A row of `result.json` without what differs between two runs of one recipe."""
    if isinstance(row, dict):
        return {key: without_times(value) for key, value in row.items() if key not in WHEN}
    return row


def own_rows(done: limbeck.Run) -> list[Any]:
    return [without_times({k: v for k, v in arm.items() if k != "test_time"}) for arm in done.result["arms"]]


def blocks(done: limbeck.Run) -> dict[str, Any]:
    return {arm["arm"]: without_times(arm["test_time"]) for arm in done.result["arms"] if "test_time" in arm}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> limbeck.Run:
    return limbeck.run(recipe(), folder=tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> limbeck.Run:
    return limbeck.run(recipe(VIEWS), folder=tmp_path_factory.mktemp("at-once"))


@pytest.mark.middle
def test_it_stands_beside_the_models_own_evaluation(plain: limbeck.Run, at_once: limbeck.Run) -> None:
    assert weights(plain.folder) == weights(at_once.folder)
    assert own_rows(plain) == own_rows(at_once)
    assert blocks(plain) == {}
    assert set(blocks(at_once)) == {"teacher", "kd"}, "who failed has nothing to be averaged"
    rows = {arm["arm"]: arm for arm in at_once.result["arms"]}
    images = load_images(Data.model_validate(DATA))
    for name, block in blocks(at_once).items():
        assert block["options"] == {"flip": False, "shifts": 1, "scales": [0.9]} and block["views"] == 10
        model = limbeck.load(at_once.folder / "models" / f"{name}-seed0")
        for split in ("validation", "test"):
            part: Split = getattr(images, split)
            wanted = evaluate(model.with_test_time(**VIEWS), part, num_classes=10)
            assert block[split]["top1"] == pytest.approx(wanted.top1, abs=1 / len(part) + 1e-9)
            gain = block["gain"][split]
            assert gain["difference"] == pytest.approx(block[split]["top1"] - rows[name][split]["top1"], abs=1e-12)
            assert gain["low"] < gain["high"] and gain["n"] == len(part)
        costs = [part["efficiency"]["multiply_adds"] for part in (rows[name], rows[name]["test_time"])]
        assert costs[1] == 10 * costs[0]
    assert "## Test-time augmentation" in at_once.report.read_text(encoding="utf-8")
    assert "Test-time" not in plain.report.read_text(encoding="utf-8")


@pytest.mark.middle
def test_a_finished_run_takes_it_on_without_training(at_once: limbeck.Run, tmp_path: Path) -> None:
    first = limbeck.run(recipe(), folder=tmp_path)
    claimed = (first.folder / "recipe.json").read_bytes()
    with pytest.raises(LimbeckError, match=r"evaluation.test_time: \(absent\) -> .*\nuse --extend"):
        limbeck.run(recipe(VIEWS), folder=tmp_path)
    saved = {path: path.stat().st_mtime_ns for path in first.folder.glob("models/*/*")}
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("measuring teacher"):
            os.kill(os.getpid(), signal.SIGTERM)  # this measurement is finished and kept, the next one not begun

    with pytest.raises(Stopped):
        limbeck.run(recipe(VIEWS), folder=tmp_path, extend=True, make_watcher=lambda key, names: Watcher(say=say))
    assert said[-1] == "measuring teacher-seed0 with test-time augmentation"
    assert not (first.folder / "result.json").exists()
    again: list[str] = []
    done = limbeck.run(recipe(VIEWS), folder=tmp_path, make_watcher=lambda key, names: Watcher(say=again.append))
    assert again == ["measuring kd-seed0 with test-time augmentation"]
    assert saved == {path: path.stat().st_mtime_ns for path in saved}, "nothing was trained"
    assert own_rows(done) == own_rows(first)
    assert blocks(done) == blocks(at_once)
    assert all("efficiency_alone" in arm["test_time"] for arm in done.result["arms"] if "test_time" in arm)
    assert "## Test-time augmentation" in done.report.read_text(encoding="utf-8")
    assert limbeck.run(recipe(VIEWS), folder=tmp_path).was_finished

    other = limbeck.run(recipe({"shifts": 2}), folder=tmp_path, extend=True)
    assert {block["views"] for block in blocks(other).values()} == {5}
    removed = limbeck.run(recipe(), folder=tmp_path, extend=True)
    assert blocks(removed) == {} and own_rows(removed) == own_rows(first)
    assert (first.folder / "recipe.json").read_bytes() == claimed


@pytest.mark.middle
def test_an_arm_from_a_file_is_measured_too(plain: limbeck.Run, at_once: limbeck.Run, tmp_path: Path) -> None:
    ready = {"model": "lightweight_cnn", "weights": str(plain.folder / "models/teacher-seed0/model.safetensors")}
    students = {"kd": {**TRAIN, "epochs": 1, "teacher": "ready", "loss": [{"name": "soft_targets"}]}}
    parts = {"teachers": {"ready": ready | {"allow_near_chance": True}}, "students": students}
    first = limbeck.run(recipe(**parts), folder=tmp_path)
    done = limbeck.run(recipe(VIEWS, **parts), folder=tmp_path, extend=True)
    assert own_rows(done) == own_rows(first)
    assert blocks(done)["ready"] == blocks(at_once)["teacher"], "the same weights"
    (stored,) = (json.loads(path.read_text()) for path in done.folder.glob("cohorts/ready/done.json"))
    assert stored["test_time"]["views"] == 10


def test_shifts_that_leave_nothing_are_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(
        LimbeckError, match=r"evaluation.test_time.shifts: a shift of 8 px leaves nothing of images of 8"
    ):
        limbeck.run(recipe({"shifts": 8}), folder=tmp_path)
    assert not (tmp_path / "augmented" / "models").exists()


def test_trials_of_a_sweep_are_measured_without() -> None:
    sweep = {"axes": {"students.kd.epochs": [1, 2]}}
    chosen = load_recipe(recipe(VIEWS, sweep=sweep))
    assert chosen.sweep is not None
    searched = search_recipe(chosen, chosen.sweep)
    assert searched.evaluation.test_time is None and "test_time" not in searched.to_dict()["evaluation"]
    assert chosen.evaluation.test_time is not None

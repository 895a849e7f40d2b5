"""Everything that can be known before training is said before training, all at once."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import limbeck
from limbeck.building.checks.before_training import check_before_training
from limbeck.building.data import Images, load_images
from limbeck.building.models import build_model
from limbeck.errors import LimbeckError
from limbeck.experiment.estimate import describe_plan
from limbeck.recipes.load import NO_FUNCTIONS, check
from limbeck.recipes.recipe import Data, NameWithOptions, Recipe
from limbeck.sweeps.sweep import describe_sweep
from limbeck.types import Normalisation, Split

TRAINED: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 1,
    "optimizer": {"name": "sgd", "lr": 0.01},
    "loss": [{"name": "cross_entropy"}],
}


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images(Data(source="digits"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Weights: of another model, of a head for twelve, good ones, and no weights at all."""
    made = {}
    for name, model, classes in (
        ("other", "resnet20", 10),
        ("twelve", "lightweight_cnn", 12),
        ("good", "lightweight_cnn", 10),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_file(build_model(NameWithOptions(name=model), classes, NO_FUNCTIONS).state_dict(), path)
        made[name] = str(path)
    (tmp_path / "text.safetensors").write_text("no weights")
    return made | {"text": str(tmp_path / "text.safetensors"), "nowhere": str(tmp_path / "nowhere.safetensors")}


def broken(files: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """A recipe whose first teacher is well and whose other arms are not, and what must be said of each."""
    ready = {"model": "lightweight_cnn"}
    teachers = {
        "well": TRAINED,
        "other": {**ready, "weights": files["other"]},
        "twelve": {**ready, "weights": files["twelve"]},
        "text": {**ready, "weights": files["text"]},
        "nowhere": {**ready, "weights": files["nowhere"]},
        "named": {**ready, "weights": files["good"], "classes": [f"digit {number}" for number in range(10)]},
        "fewer": {**ready, "weights": files["good"], "classes": ["0", "1"]},
    }
    students = {
        "good": {**TRAINED, "teacher": "well", "loss": [{"name": "soft_targets"}]},
        "unknown": {**TRAINED, "model": "timm:resnet81"},
        "sized": {**TRAINED, "model": "timm:vit_tiny_patch16_224"},
        "small": {**TRAINED, "model": "speed_cnn"},
        "pickled": {**TRAINED, "model": {"name": "torchvision:resnet18", "pretrained": True}},
        "refused": {**TRAINED, "model": {"name": "timm:resnet18", "img_size": 8}},
    }
    said = {
        "other": "other.safetensors: does not match the model",
        "twelve": "has 12 classes, but the model needs 10",
        "text": "not a readable safetensors file",
        "nowhere": "no such file",
        "named": "names differ",
        "fewer": "the teacher has 2 classes, the data 10",
        "unknown": "did you mean",
        "sized": "does not take images of 8 px",
        "small": "does not take images of 8 px",
        "pickled": "pickle",
        "refused": "img_size",
    }
    recipe = {"name": "broken", "data": {"source": "digits"}, "teachers": teachers, "students": students}
    return recipe, said


def read(tree: dict[str, Any]) -> Recipe:
    return check(tree, "test", {})


def complaints(error: LimbeckError) -> dict[str, list[str]]:
    by_arm: dict[str, list[str]] = {}
    for line in str(error).split("\n"):
        arm = line.removeprefix("teachers.").removeprefix("students.").replace(".", ":").partition(":")[0]
        by_arm.setdefault(arm, []).append(line)
    return by_arm


def test_a_run_says_all_before_it_trains_anything(tmp_path: Path, files: dict[str, str]) -> None:
    recipe, said = broken(files)
    with pytest.raises(LimbeckError) as caught:
        limbeck.run(recipe, folder=tmp_path / "runs")
    found = complaints(caught.value)
    assert set(found) == set(said)
    for arm, words in said.items():
        assert any(words in line for line in found[arm]), (arm, found[arm])
    assert not list((tmp_path / "runs").rglob("metrics*")), "nothing may have been trained"


def test_a_dry_run_says_the_same(tmp_path: Path, files: dict[str, str]) -> None:
    recipe, said = broken(files)
    del recipe["students"]["pickled"], said["pickled"]  # published weights are not fetched for a plan
    with pytest.raises(LimbeckError) as caught:
        describe_plan(read(recipe), timed=False)
    assert set(complaints(caught.value)) == set(said)


def test_a_sweep_says_it_of_every_setting(tmp_path: Path) -> None:
    recipe = {
        "name": "swept",
        "data": {"source": "digits"},
        "students": {"a": TRAINED},
        "sweep": {"axes": {"students.a.model": ["resnet20", "speed_cnn", "timm:resnet81"]}, "seeds": [0]},
    }
    for attempt in (lambda: limbeck.sweep(recipe, folder=tmp_path), lambda: describe_sweep(recipe)):
        with pytest.raises(LimbeckError) as caught:
            attempt()
        told = str(caught.value)
        assert "does not take images of 8 px" in told
        assert "resnet81" in told
        assert len(told.split("\n")) == 2


def test_views_that_the_images_do_not_allow_are_named(digits: Images) -> None:
    grey = Split(digits.train.images[:, :1], digits.train.labels)
    images = dataclasses.replace(digits, train=grey, normalisation=Normalisation((0.5,), (0.5,)))
    models = {"flat": lambda num_classes: nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))}
    colours = {"policy": {"name": "autoaugment"}}
    tree = {"name": "v", "data": {"source": "digits"}, "students": {"a": {**TRAINED, "model": "flat"}}}
    check_before_training(check(tree, "test", {}, models=models), images, models)
    tree["students"]["b"] = {**TRAINED, "model": "flat", "views": colours}
    with pytest.raises(LimbeckError, match=r"^b: views: "):
        check_before_training(check(tree, "test", {}, models=models), images, models)


def test_a_model_without_anything_to_train(digits: Images) -> None:
    class Frozen(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.flatten(1)[:, :10]

    models = {"frozen": lambda num_classes: Frozen()}
    tree = {"name": "f", "data": {"source": "digits"}, "students": {"a": {**TRAINED, "model": "frozen"}}}
    with pytest.raises(LimbeckError, match=r"^a: frozen cannot be trained: "):
        check_before_training(check(tree, "test", {}, models=models), digits, models)


def test_looking_draws_nothing_from_the_run_s_generator_and_is_quick(digits: Images) -> None:
    recipe = read(
        {"name": "q", "data": {"source": "digits"}, "students": {"a": TRAINED, "b": {**TRAINED, "epochs": 2}}}
    )
    check_before_training(recipe, digits, NO_FUNCTIONS)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    began = time.process_time()
    check_before_training(recipe, digits, NO_FUNCTIONS)
    assert time.process_time() - began < 1.0
    assert torch.equal(state, torch.get_rng_state())


def test_a_finished_run_is_not_looked_at_again(tmp_path: Path, files: dict[str, str]) -> None:
    ready = {"model": "lightweight_cnn", "weights": files["good"], "allow_near_chance": True}
    recipe = {
        "name": "done",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 64},
        "teachers": {"t": ready},
        "students": {"a": {**TRAINED, "teacher": "t", "loss": [{"name": "soft_targets"}]}},
    }
    limbeck.run(recipe, folder=tmp_path)
    Path(files["good"]).unlink()
    assert limbeck.run(recipe, folder=tmp_path).was_finished

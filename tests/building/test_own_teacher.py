"""A teacher of the user's own, from a file: its class order, its normalisation, its size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import limbeck
from limbeck.building.data import load_images
from limbeck.experiment.estimate import describe_plan
from limbeck.recipes.load import load_recipe
from limbeck.recipes.recipe import Data

NAMES = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small teacher trained on the digits, as a bare safetensors file."""
    folder = tmp_path_factory.mktemp("own")
    recipe = {
        "name": "own",
        "precision": "fp32",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits"},
        "views": {"batch_size": 64},
        "students": {
            "net": {
                "model": {"name": "lightweight_cnn", "dropout": 0.0, "hidden_dropout": 0.0},
                "epochs": 6,
                "optimizer": {"name": "adam", "lr": 3e-3},
                "loss": [{"name": "cross_entropy"}],
            }
        },
    }
    done = limbeck.run(recipe, folder=folder)
    return done.folder / "models" / "net-seed0" / "model.safetensors"


def recipe_with(weights: Path, **teacher: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "precision": "fp32",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits"},
        "views": {"batch_size": 64},
        "teachers": {"mine": {"model": "lightweight_cnn", "weights": str(weights), **teacher}},
        "students": {
            "kd": {
                "teacher": "mine",
                "model": "lightweight_cnn",
                "epochs": 1,
                "optimizer": {"name": "adam", "lr": 3e-3},
                "loss": [{"name": "soft_targets"}],
            }
        },
    }


def teacher_accuracy(result: dict[str, Any]) -> float:
    return next(arm["test"]["top1"] for arm in result["arms"] if arm["role"] == "teacher")


def test_its_file_is_all_it_takes(trained: Path, tmp_path: Path) -> None:
    done = limbeck.run(recipe_with(trained), folder=tmp_path)
    assert teacher_accuracy(done.result) > 0.9
    assert {arm["arm"] for arm in done.result["arms"]} == {"mine", "kd"}


def test_students_from_files_alone_are_measured(trained: Path, tmp_path: Path) -> None:
    """Nothing is trained, and there is a report of what was brought."""
    recipe = recipe_with(trained) | {"teachers": {}}
    recipe["students"] = {"mine": {"model": "lightweight_cnn", "weights": str(trained), "loss": []}}
    done = limbeck.run(recipe, folder=tmp_path)
    (arm,) = done.result["arms"]
    saved = json.loads((trained.parents[2] / "result.json").read_text())["arms"][0]
    assert (arm["role"], arm["epochs_run"], arm["test"]) == ("student", 0, saved["test"])
    text = done.report.read_text(encoding="utf-8")
    assert "Nothing was distilled" in text
    assert "**mine** was loaded from a file. Its training images are unknown" in text
    assert limbeck.run(recipe, folder=tmp_path).was_finished


def test_the_plan_says_what_is_trained_on(trained: Path) -> None:
    """Weights given to a teacher that a recipe trains are a start, which may be meant or forgotten."""
    training = {"epochs": 1, "optimizer": {"name": "adam", "lr": 1e-3}, "loss": [{"name": "cross_entropy"}]}
    lines = describe_plan(load_recipe(recipe_with(trained, **training)), timed=False)
    assert f"mine starts from {trained} and is trained further; teachers.mine.loss=[] uses it untrained" in lines
    assert not any("starts from" in line for line in describe_plan(load_recipe(recipe_with(trained)), timed=False))


@pytest.mark.middle
def test_another_class_order_is_put_right(trained: Path, tmp_path: Path) -> None:
    names = load_images(Data(source="digits")).class_names
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    tensors = load_file(trained)
    head = [name for name, tensor in tensors.items() if tensor.shape[:1] == (10,)]
    for name in head:
        tensors[name] = tensors[name][torch.tensor(order)].contiguous()
    shuffled = tmp_path / "shuffled.safetensors"
    save_file(tensors, shuffled)
    told = limbeck.run(recipe_with(shuffled, classes=[names[i] for i in order]), folder=tmp_path, name="told")
    assert teacher_accuracy(told.result) > 0.9
    allowed = recipe_with(shuffled, allow_near_chance=True)
    untold = limbeck.run(allowed, folder=tmp_path, name="untold")
    assert teacher_accuracy(untold.result) < 0.5, "the order matters, or this test says nothing"
    with pytest.raises(limbeck.LimbeckError, match="another order of classes") as caught:
        limbeck.run(recipe_with(shuffled), folder=tmp_path, name="refused")
    assert json.dumps([names[i] for i in order]) in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["a", "b", "c"], ["3 classes", "10"]),
        ([*NAMES[:9], "ten"], ["ten", "only in the model", "only in the data"]),
    ],
)
def test_classes_that_do_not_fit_are_named(trained: Path, tmp_path: Path, classes: list[str], words: list[str]) -> None:
    path = trained
    if len(classes) != 10:
        tensors = load_file(trained)
        tensors = {n: t[: len(classes)].contiguous() if t.shape[:1] == (10,) else t for n, t in tensors.items()}
        path = tmp_path / "few.safetensors"
        save_file(tensors, path)
    with pytest.raises(limbeck.LimbeckError) as caught:
        limbeck.run(recipe_with(path, classes=classes), folder=tmp_path)
    message = str(caught.value)
    assert "teachers.mine.classes" in message
    for word in words:
        assert word in message


def test_a_count_of_classes_that_does_not_fit_the_file(trained: Path, tmp_path: Path) -> None:
    tensors = {n: t[:4].contiguous() if t.shape[:1] == (10,) else t for n, t in load_file(trained).items()}
    few = tmp_path / "few.safetensors"
    save_file(tensors, few)
    with pytest.raises(limbeck.LimbeckError, match=r"4 classes.*10"):
        limbeck.run(recipe_with(few), folder=tmp_path)
    assert not (tmp_path / "own" / "models").exists(), "nothing was trained"


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(limbeck.LimbeckError, match="no such file"):
        limbeck.run(recipe_with(tmp_path / "none.safetensors"), folder=tmp_path)


def measured(lines: list[tuple[str, str]]) -> tuple[str, str]:
    found = dict(lines)
    return found["top-1"], found["loss"]


def test_it_is_measured_by_evaluate_as_by_a_run(trained: Path, tmp_path: Path) -> None:
    from limbeck.commands.evaluate import measure_saved

    about = json.loads((trained.parent / "model.json").read_text(encoding="utf-8"))
    normalise = about["normalisation"]
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(trained.read_bytes())
    recipe = tmp_path / "own.json"
    recipe.write_text(json.dumps(recipe_with(bare, normalise=normalise)), encoding="utf-8")
    wanted = measured(measure_saved(trained, "digits", (), "test"))
    assert measured(measure_saved(str(recipe), None, (), "test", arm="mine")) == wanted
    options = [f"normalise.{key}={json.dumps(normalise[key])}" for key in ("mean", "sd")]
    assert measured(measure_saved(bare, "digits", options, "test", model="lightweight_cnn")) == wanted
    spoilt = dict(
        measure_saved(
            bare, "digits", ["normalise.mean=[5, 5, 5]", "normalise.sd=[1, 1, 1]"], "test", model="lightweight_cnn"
        )
    )
    assert "without `normalise`" in spoilt["remark"], "what the check before a run would advise"
    turned = [f"classes={json.dumps(NAMES[::-1])}"]
    assert measured(measure_saved(bare, "digits", [*options, *turned], "test", model="lightweight_cnn")) != wanted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"arm": "mien"}, "did you mean 'mine'"),
        ({"arm": "kd"}, "is trained by the recipe"),
        ({}, "name one of its arms, as in --arm"),
        ({"arm": "mine", "source": "digits"}, "the recipe names the model and the data"),
        ({"checkpoint": "bare.safetensors"}, "name its model, as in --model"),
        ({"checkpoint": "bare.safetensors", "model": "lightweight_cnn"}, "add the source, as in folder:photos"),
        ({"checkpoint": "bare.safetensors", "model": "lightweight_cn", "source": "digits"}, "did you mean 'lightwei"),
    ],
)
def test_what_evaluate_cannot_measure(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: dict[str, Any], said: str
) -> None:
    from limbeck.commands.evaluate import measure_saved

    monkeypatch.chdir(tmp_path)
    Path("bare.safetensors").write_bytes(trained.read_bytes())
    Path("own.yaml").write_text(json.dumps(recipe_with(Path("bare.safetensors"))), encoding="utf-8")
    call: dict[str, Any] = {"checkpoint": "own.yaml", "source": None, **words}
    with pytest.raises(limbeck.LimbeckError, match=said) as error:
        measure_saved(**call, options=(), split="test")
    assert "\n" not in str(error.value)

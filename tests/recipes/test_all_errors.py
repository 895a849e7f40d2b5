"""A recipe with many mistakes tells all of them at once: the places it tells are those that each alone would tell."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import RecipeError
from limbeck.recipes.load import load_recipe

Refused = Callable[..., list[str]]
Place = tuple[Any, ...]

TWELVE = """name: a/b
seeds: [0, one]
data: {source: digts, validation: 0.9}
views: {batch_size: 32, zoom: 0.2, crop: {padding: 0}}
teachers:
  large:
    model: resne20
    epochs: 0
    optimizer: {name: sdg, lr: fast}
    loss: [{name: cross_entropi}]
  larger:
    model: resnet20
    teacher: huge
    epochs: 1
    optimizer: {name: sgd, lr: 1}
    loss: [{name: soft_targets}]
students:
  baseline:
    model: {name: lightweight_cnn, dropuot: 0.1}
    loss: [{name: cross_entropy}]
  one: {teacher: two, model: resnet20, epochs: 1, optimizer: {name: sgd, lr: 1}, loss: [{name: soft_targets}]}
  two: {teacher: one, model: resnet20, epochs: 1, optimizer: {name: sgd, lr: 1}, loss: [{name: soft_targets}]}
  three: {teacher: three, model: resnet20, epochs: 1, optimizer: {name: sgd, lr: 1}, loss: [{name: soft_targets}]}
  dis tilled:
    teacher: larg
    epochs: 2
    epochs: 3
    optimizer: {name: sgd}
    loss:
      - {name: soft_targets, temprature: 4}
      - {name: cross_entropy, weight: -1}
      - {name: soft_target, temprature: 4}
"""
TOLD = [
    "1: name", "2: seeds.1", "3: data.validation", "3: data.source", "4: views.crop.padding", "4: views.zoom",
    "7: teachers.large.model", "8: teachers.large.epochs", "9: teachers.large.optimizer",
    "9: teachers.large.optimizer.lr", "10: teachers.large.loss.0.name", "13: teachers.larger.teacher.0",
    "18: students.baseline.epochs", "18: students.baseline.optimizer", "19: students.baseline.model.dropuot",
    "21: students.one.teacher", "23: students.three.teacher", "24: students.dis tilled",
    "24: students.dis tilled.model", "25: students.dis tilled.teacher.0", "27: epochs",
    "28: students.dis tilled.optimizer.lr", "30: students.dis tilled.loss.0.temprature",
    "31: students.dis tilled.loss.1.weight", "32: students.dis tilled.loss.2.name",
    "32: students.dis tilled.loss.2.temprature",
]  # fmt: skip


def test_two_dozen_mistakes_at_once(refused: Refused) -> None:
    lines = refused(TWELVE)
    assert sorted(": ".join(line.split(": ")[:2]) for line in lines) == sorted(TOLD)
    assert [int(line.split(":")[0]) for line in lines] == sorted(int(line.split(":")[0]) for line in lines)


def test_every_slip_of_the_command_line_at_once_with_those_of_the_file(refused: Refused) -> None:
    lines = refused(TWELVE, ["epochs", "views..flip=1", "students.x.epochs=1", "seeds=[1,", "name=c d"])
    beginnings = [": ".join(line.split(": ")[:3]) for line in lines if line.startswith("command line")]
    assert beginnings[:-1] == [
        "command line: 'epochs': expected key=value, such as views.batch_size=64",
        "command line: 'views..flip=1': expected key=value, such as views.batch_size=64",
        "command line: students.x.epochs: no arm named 'x'; expected one of baseline, dis tilled, one, three, two",
        "command line: seeds: invalid YAML",
    ]
    assert beginnings[-1].startswith("command line: name: 'c d' is not a valid folder name")
    assert len(lines) == len(TOLD) + 4, "the name is told once, from where it is said last"


def test_a_sweep_tells_all_that_is_wrong_with_it() -> None:
    about = {
        "axes": {"views.batch_size": [8, 8], "views.flip": [True], "x": {"low": 2, "high": 1}},
        "complements": {"a": "b", "c": "views.flip"},
        "trials": 3,
        "pruning": True,
    }
    with pytest.raises(RecipeError) as caught:
        load_recipe(VALID | {"sweep": about})
    lines = str(caught.value).split("\n")
    assert [line.split(": ")[1] for line in lines] == [
        "sweep.axes.x", "sweep.axes.views.batch_size", "sweep.trials", "sweep.pruning", "sweep.complements.a",
        "sweep.complements.c",
    ]  # fmt: skip


def test_defaults_that_are_no_mapping_are_the_only_mistake(tmp_path: Path) -> None:
    tree = copy.deepcopy(VALID)
    tree["students"] = {"defaults": 3, "a": {"loss": [{"name": "cross_entropy"}]}}
    with pytest.raises(RecipeError) as caught:
        load_recipe(tree)
    assert str(caught.value) == "recipe: students.defaults: expected a mapping, such as {…}; got 3"


VALID: dict[str, Any] = {
    "name": "valid",
    "seeds": [0, 1],
    "device": "cpu",
    "data": {"source": "folder:x", "validation": 0.2, "image_size": 32},
    "views": {"batch_size": 8, "erasing": {"area": [0.1, 0.2]}, "mixing": {"mixup": 1},
              "policy": {"name": "randaugment"}},
    "evaluation": {"batch_size": 3, "test_time": {"flip": True, "shifts": 2, "scales": [0.9, 1.1]}},
    "teachers": {
        "t": {
            "model": {"name": "resnet20", "stem": 8},
            "epochs": 3,
            "optimizer": {"name": "sgd", "lr": 1, "momentum": 0.5},
            "schedule": {"name": "step", "every_epochs": 3, "factor": 0.1},
            "loss": [{"name": "cross_entropy", "label_smoothing": 0.1}],
        },
        "ready": {"model": "resnet20", "weights": "w.safetensors", "resolution": 32},
    },
    "students": {
        "baseline": {
            "model": {"name": "lightweight_cnn", "dropout": 0.1},
            "epochs": 3,
            "optimizer": {"name": "adamw", "lr": 1, "betas": [0.5, 0.5]},
            "loss": [{"name": "cross_entropy", "weight": 0.5}],
            "ema": {"decay": 0.5},
        },
        "distilled": {
            "model": "resnet20",
            "epochs": 3,
            "teacher": ["t", {"name": "ready", "weight": 2}],
            "optimizer": {"name": "muon", "lr": 1},
            "loss": [{"name": "soft_targets", "temperature": 2, "weight": 0.5}, {"name": "cross_entropy"}],
            "views": {"flip": True},
            "normalise": {"mean": [0, 0, 0], "sd": [1, 1, 1]},
        },
    },
}  # fmt: skip


def places(tree: Any, path: Place = ()) -> list[Place]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in pairs for found in [(*path, key), *places(value, (*path, key))]]


def holder_of(tree: Any, path: Place) -> Any:
    for part in path[:-1]:
        tree = tree[part]
    return tree


def mistakes_at(path: Place) -> list[tuple[str, Place]]:
    """What can be spoilt at a place, and the place that no second mistake may touch."""
    holder = holder_of(VALID, path)
    value = holder[path[-1]]
    named = (path[-1] == "name" and len(path) > 1) or path == ("data", "source")
    whole = path[:-1] if named else path  # what options a name takes is known with the name alone
    found = [("another kind", whole)]
    if isinstance(value, dict) and len(path) != 1:
        found.append(("unknown key", (*path, "zebra")))
    if named or path == ("students", "distilled", "model"):
        found.append(("unknown name", whole))
    if path[-1] in ("lr", "every_epochs", "model", "epochs", "optimizer", "decay"):
        found.append(("nothing", path))
    return found


ALL = [(kind, path, held) for path in places(VALID) for kind, held in mistakes_at(path)]


def spoil(tree: dict[str, Any], kind: str, path: Place) -> None:
    holder = holder_of(tree, path)
    if kind == "another kind":
        holder[path[-1]] = {"zebra": [{}]} if isinstance(holder[path[-1]], str | int | float | list) else 7
    elif kind == "unknown key":
        holder[path[-1]]["zebra"] = 1
    elif kind == "unknown name":
        holder[path[-1]] = "zebra"
    else:
        del holder[path[-1]]


def told(chosen: list[tuple[str, Place, Place]]) -> set[str]:
    """The places that are told."""
    tree = copy.deepcopy(VALID)
    for kind, path, _ in chosen:
        spoil(tree, kind, path)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tree)
    return {line.split(": ")[1] for line in str(caught.value).split("\n")}


def apart(one: Place, other: Place) -> bool:
    if (names_an_arm(one) and len(other) == 1) or (names_an_arm(other) and len(one) == 1):
        return False  # whether an arm exists is known with its group alone
    return one[: len(other)] != other and other[: len(one)] != one


def names_an_arm(place: Place) -> bool:
    return place[2:3] in (("teacher",), ("baseline",))


def test_the_places_to_spoil_are_many_and_each_is_told() -> None:
    load_recipe(VALID)
    assert len(ALL) > 80
    for mistake in ALL:
        assert told([mistake])


@given(st.lists(st.sampled_from(ALL), min_size=2, max_size=25))
@settings(max_examples=60, deadline=None)
def test_many_mistakes_are_told_where_each_alone_is(drawn: list[tuple[str, Place, Place]]) -> None:
    chosen: list[tuple[str, Place, Place]] = []
    for mistake in drawn:
        if all(apart(mistake[2], other[2]) for other in chosen):
            chosen.append(mistake)
    assert told(chosen) == set().union(*(told([mistake]) for mistake in chosen))

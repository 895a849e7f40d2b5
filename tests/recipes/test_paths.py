"""A recipe's relative paths follow its file; on the command line and in a dict they follow the working directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.recipes.load import load_recipe, shipped
from limbeck.recipes.paths import with_absolute_paths
from limbeck.storage.run_directory import RunDirectory

TEXT = """name: beside
data: {source: folder:photos}
teachers:
  defaults: {weights: weights/t.safetensors}
  t: {model: resnet20}
  u: {model: resnet20, weights: /whole/u.safetensors}
students:
  a:
    model: resnet20
    weights: ../start.safetensors
    epochs: 1
    optimizer: {name: sgd, lr: 1}
    loss: [{name: cross_entropy}]
    teacher: t
sweep:
  axes: {teachers.t.weights: [one.safetensors, two.safetensors], students.a.epochs: [1, 2]}
  storage: sqlite:///study.db
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project" / "inner"
    folder.mkdir(parents=True)
    (folder / "r.yaml").write_text(TEXT)
    return folder


def paths(tree: dict[str, Any]) -> list[Any]:
    return [
        tree["data"]["source"], tree["teachers"]["t"]["weights"], tree["teachers"]["u"]["weights"],
        tree["students"]["a"]["weights"], tree["sweep"]["axes"]["teachers.t.weights"], tree["sweep"]["storage"],
    ]  # fmt: skip


def test_paths_of_a_file_follow_its_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parents[1])
    for file in ("project/inner/r.yaml", project / "r.yaml"):
        assert paths(load_recipe(file).to_dict()) == [
            f"folder:{project}/photos", f"{project}/weights/t.safetensors", "/whole/u.safetensors",
            f"{project.parent}/start.safetensors", [f"{project}/one.safetensors", f"{project}/two.safetensors"],
            f"sqlite:///{project}/study.db",
        ]  # fmt: skip


def test_beside_the_file_they_stay_as_they_are_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert paths(load_recipe("r.yaml").to_dict()) == [
        "folder:photos", "weights/t.safetensors", "/whole/u.safetensors", "../start.safetensors",
        ["one.safetensors", "two.safetensors"], "sqlite:///study.db",
    ]  # fmt: skip


@pytest.mark.parametrize(("source", "known"), [("cifar10", "cifar10"), ("tinyimagenet", "tinyimagenet")])
def test_the_path_of_an_archive_does_too(
    source: str, known: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "r.yaml").write_text(TEXT.replace("folder:photos", f"{source}, path: here/x.zip"))
    monkeypatch.chdir(project.parent)
    data = load_recipe("inner/r.yaml").data
    assert (data.source, data.options) == (known, {"path": f"{project}/here/x.zip"})


def test_on_the_command_line_they_follow_the_working_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent)
    recipe = load_recipe("inner/r.yaml", ["data.source=folder:others", "teachers.t.weights=w.safetensors"])
    assert (recipe.data.source, recipe.teachers["t"].weights) == ("folder:others", "w.safetensors")
    assert with_absolute_paths(recipe.to_dict())["data"]["source"] == f"folder:{project.parent}/others"


def test_a_dict_follows_the_working_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    tree = load_recipe("r.yaml").to_dict()
    monkeypatch.chdir(project.parent)
    assert load_recipe(tree).data.source == "folder:photos"


def test_a_home_stays_a_home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "r.yaml").write_text(TEXT.replace("folder:photos", "folder:~/photos"))
    monkeypatch.chdir(project.parent)
    assert load_recipe("inner/r.yaml").data.source == "folder:~/photos"


def test_a_run_directory_knows_its_recipe_from_wherever_it_is_called(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory(project / "runs" / "beside")
    monkeypatch.chdir(project)
    with directory.locked():
        directory.bind(load_recipe("r.yaml").to_dict())
        directory.cohort("c").metrics("a-seed0").append({"epoch": 1})
    monkeypatch.chdir(project.parent)
    with directory.locked():
        directory.bind(load_recipe("inner/r.yaml").to_dict())
        with pytest.raises(LimbeckError, match=r"data.source: folder:.*/inner/photos -> folder:.*/project/photos"):
            directory.bind(load_recipe("inner/r.yaml", ["data.source=folder:photos"]).to_dict())


def test_a_run_directory_of_an_earlier_version_is_known_where_it_was_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory(project / "runs" / "beside")
    monkeypatch.chdir(project)
    with directory.locked():
        directory.cohort("c").metrics("a-seed0").append({"epoch": 1})
        directory.recipe.write_text(json.dumps(load_recipe("r.yaml").to_dict()))  # paths as they are written
        directory.bind(load_recipe("r.yaml").to_dict())
        directory.bind(load_recipe(project / "r.yaml").to_dict())


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_name_no_place_of_a_machine(name: str) -> None:
    recipe = load_recipe(name).to_dict()
    assert with_absolute_paths(recipe) == recipe

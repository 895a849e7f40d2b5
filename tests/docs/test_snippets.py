"""Every recipe in the documentation loads, every fragment fits a recipe, every Python snippet compiles or runs."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from documentation import Block, blocks, recipe_called

from limbeck.errors import RecipeError
from limbeck.recipes.load import load_recipe
from limbeck.recipes.yaml_file import parse

RECIPES = blocks("yaml")
PYTHON = blocks("python")


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two trees, of which the second wins."""
    both = dict(below)
    for key, value in above.items():
        here = both.get(key)
        both[key] = merged(here, value) if isinstance(here, dict) and isinstance(value, dict) else value
    return both


def base() -> dict[str, Any]:
    """A recipe with the arms of which fragments speak."""
    tree: dict[str, Any] = parse(recipe_called("photos"), "photos.yaml")[0]
    more = {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}, "loss": [{"name": "cross_entropy"}]}
    tree["teachers"] |= {name: {"model": "resnet20", **more} for name in ("resnet", "wide")}
    return tree


def complete(block: Block, folder: Path) -> dict[str, Any]:
    """The block as a recipe: what a fragment leaves out is taken from the recipe of Getting started."""
    given: dict[str, Any] = parse(block.text, str(block))[0]
    if given.keys() >= {"name", "data", "students"}:
        return given
    tree = merged(base(), given)
    for arm in tree["teachers"].values():
        if "weights" in arm:
            arm["weights"] = str(folder / "teacher.safetensors")
    for name, arm in tree["students"].items():
        if name != "defaults":
            losses = arm.setdefault("loss", [{"name": "cross_entropy"}])
            if any(term["name"] != "cross_entropy" for term in losses):
                arm.setdefault("teacher", "big")
    return tree


@pytest.mark.parametrize("block", RECIPES, ids=map(str, RECIPES))
def test_a_recipe_loads(block: Block, tmp_path: Path) -> None:
    load_recipe(complete(block, tmp_path))


def test_a_wrong_key_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean"):
        load_recipe(complete(Block("page", 1, "yaml", False, "views: {bach_size: 64}\n"), tmp_path))


@pytest.mark.parametrize("block", PYTHON, ids=map(str, PYTHON))
def test_python_compiles(block: Block) -> None:
    ast.parse(block.text, str(block))


RUN = [
    pytest.param(block, marks=pytest.mark.middle if "limbeck.run(" in block.text else (), id=str(block))
    for block in PYTHON
    if block.run
]


@pytest.mark.parametrize("block", RUN)
def test_python_that_is_marked_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    script = tmp_path / "snippet.py"
    script.write_text(block.text, encoding="utf-8")
    exec(compile(block.text, str(script), "exec"), {"__name__": "__main__"})
